"""Gradient matching: candidates -> distance and priors -> optimizer step, the machine under most attacks.

What an author of an attack or a variant needs is imported from here; the other files are its parts.
"""

from gradinv.attacks.gradient_matching.attack import GradientMatching
from gradinv.attacks.gradient_matching.coupling import Bond, Coupling
from gradinv.attacks.gradient_matching.distances import CosineDistance, Distance, LayerwiseL2, Pullback, SquaredL2, norm
from gradinv.attacks.gradient_matching.evaluation import Engine, Kind, Precision
from gradinv.attacks.gradient_matching.group_consistency import GroupConsistency
from gradinv.attacks.gradient_matching.needs import LabelPolicy
from gradinv.attacks.gradient_matching.objective import Given, Objective
from gradinv.attacks.gradient_matching.optimizers import (
    LBFGS,
    Adam,
    Optimizer,
    Schedule,
    Stepper,
    step_decay,
    warmup_cosine,
)
from gradinv.attacks.gradient_matching.priors import (
    BatchNormStatistics,
    Candidate,
    ImageL2,
    Prior,
    TotalVariation,
    TotalVariationL2,
)

__all__ = [
    "LBFGS",
    "Adam",
    "BatchNormStatistics",
    "Bond",
    "Candidate",
    "CosineDistance",
    "Coupling",
    "Distance",
    "Engine",
    "Given",
    "GradientMatching",
    "GroupConsistency",
    "ImageL2",
    "Kind",
    "LabelPolicy",
    "LayerwiseL2",
    "Objective",
    "Optimizer",
    "Precision",
    "Prior",
    "Pullback",
    "Schedule",
    "SquaredL2",
    "Stepper",
    "TotalVariation",
    "TotalVariationL2",
    "norm",
    "step_decay",
    "warmup_cosine",
]
