"""What gradient matching needs before it may run, one function a need: why it lacks in one line, or None."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from gradinv.attacks.attack import Conditions
from gradinv.attacks.gradient_matching.distances import Distance
from gradinv.attacks.gradient_matching.parametrisations import Parametrisation
from gradinv.attacks.gradient_matching.priors import Prior
from gradinv.attacks.grants import AUXILIARY, LABELS, reason_without_statistics
from gradinv.attacks.label_rules import AUXILIARY_IMAGES, create_rule
from gradinv.attacks.labels import resolve_labels
from gradinv.attacks.leak import Leak
from gradinv.attacks.update import create_update
from gradinv.attacks.victim import Victim


@dataclass(frozen=True)
class LabelPolicy:
    """Where labels come from: the grant or else `rule`; `always_infer` ignores the grant, `joint` optimises them.

    UnknownNameError for a rule that there is none of.
    """

    rule: str = "sum"
    always_infer: bool = False
    joint: bool = False
    rule_needs_single_image: bool = False

    def __post_init__(self) -> None:
        create_rule(self.rule)  # for its error alone, which is to come before a trial

    def resolved(self, leak: Leak, victim: Victim, *, blind: bool) -> tuple[Tensor | None, str]:
        """The labels (B,) that candidates get, None where they are optimised, and how the attack has them.

        An attack that is `blind` to the gradient infers none from it: it has the granted ones, or no labels.
        """
        if self.joint:
            return None, "optimised"
        if blind and (leak.labels is None or self.always_infer):
            # No labels and not made-up ones: no update is computed, and `Prediction` is 0 without them.
            return torch.empty(0, dtype=torch.int64), ""
        labels, method = resolve_labels(leak, victim, self.rule, always_infer=self.always_infer)
        return labels.to(victim.device), method


def lacks_statistics(priors: Iterable[Prior], conditions: Conditions) -> str | None:
    """Why the batch-norm priors among these have nothing to go by."""
    needed = any(prior.needs_bn_statistics for prior in priors)
    return reason_without_statistics(conditions) if needed else None


def lacks_autoencoder(parts: Iterable[Prior | Parametrisation], conditions: Conditions) -> str | None:
    """Why the parts among these that public images have trained have nothing to go by."""
    if not any(part.needs_autoencoder for part in parts):
        return None
    if conditions.threat_model.auxiliary_images == "none":
        levels = " or ".join(level for level in AUXILIARY if level != "none")
        return f"what public images have taught needs auxiliary_images: {levels}"
    if not conditions.autoencoder:
        return "no autoencoder is here that the public images have trained; gradinv train-autoencoder trains one"
    return None


def lacks_scale(distance: Distance | None, conditions: Conditions) -> str | None:
    """Why the distance cannot be taken to a weight update of which only the direction is known."""
    known = create_update(conditions.threat_model.known_update)
    if distance is None or not distance.needs_scale or known.has_scale:
        return None
    return "this distance needs the scale of the local training; take simulation: weak or strong, or a cosine"


def lacks_labels(policy: LabelPolicy, conditions: Conditions) -> str | None:
    """Why labels are neither granted nor optimised nor to be inferred."""
    is_granted = conditions.threat_model.labels != "none" and not policy.always_infer
    if policy.joint or is_granted:
        return None
    if policy.rule_needs_single_image and conditions.batch_size > 1:
        levels = " or ".join(level for level in LABELS if level != "none")
        return f"needs labels: {levels} for more than one image"
    rule = create_rule(policy.rule)
    if AUXILIARY_IMAGES in rule.assumptions:
        return f"the rule {policy.rule} needs auxiliary images, which no threat model grants"
    return rule.reason_before(conditions.batch_size, conditions.num_classes)


def lacks_budget(evaluations: int, *, restarts: int, agents: int, weighing: int = 0, states: int = 1) -> str | None:
    """Why so many evaluations are too few for every agent of every restart to have one, and `weighing` before them.

    Of a batch that is seen from several `states` of the network each takes so many.

    >>> lacks_budget(5, restarts=2, agents=3)
    'a budget of 5 evaluations is too small for 2 restarts of 3 agents'
    """
    if evaluations >= states * (weighing + restarts * agents):
        return None
    of_agents = f" of {agents} agents" if agents > 1 else ""
    before = f", and {weighing} that finds the weights" if weighing else ""
    at_states = f" at {states} states of the network" if states > 1 else ""
    return f"a budget of {evaluations} evaluations is too small for {restarts} restarts{of_agents}{before}{at_states}"
