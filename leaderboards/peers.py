"""Another implementation beside ours: Inverting Gradients and GradInversion of breaching 0.1.2, as a plug-in.

breaching (Jonas Geiping and others, https://github.com/JonasGeiping/breaching) is imported and runs its own loop with
its own presets; what stands here hands it our leak and takes its result. `pip install 'gradinv[peers]'` brings it;
where it is missing, these attacks are skipped with that reason.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from breaching_loop import (
    LentNetwork,
    NoDistance,
    drawing,
    granted_statistics,
    imported,
    kept_candidates,
    payloads,
    preset_config,
    reason_not_installed,
    without_border,
)
from pydantic import Field
from torch import Tensor, nn

from gradinv.attacks.attack import Attack, Conditions
from gradinv.attacks.gradient_matching.priors import limits_of_statistics
from gradinv.attacks.gradinversion import YIN_2021
from gradinv.attacks.grants import reason_without_statistics
from gradinv.attacks.inverting_gradients import GEIPING_2020
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.registry import register_attack, register_preset
from gradinv.attacks.transforms import UnansweredError
from gradinv.attacks.victim import Victim
from gradinv.metrics.keys import parse_key

CURVE_POINTS = 100

Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class BreachingAttack(Attack):
    """What both attacks share: breaching's loop on the victim's own network, one restart, labels as granted.

    breaching scores its result once more at the end: of a budget one evaluation goes to that, the rest are iterations.
    """

    preset: str
    sees_update = True
    alpha_bn: float = 0.0
    iterations: int

    @property
    def options(self) -> dict[str, float]:
        """The hyperparameters under breaching's own names."""
        raise TypeError(f"{type(self).__name__} has no options property")

    @property
    def scorings(self) -> int:
        """Evaluations after the last iteration; blind to the update there is nothing to score by."""
        return int(self.sees_update)

    def evaluations(self, budget: int | None) -> int:
        """The budget, or else the iterations and the scoring of the result."""
        return self.iterations + self.scorings if budget is None else budget

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """breaching is not there, or would be granted something else than the threat model says."""
        granted = conditions.threat_model
        if missing := reason_not_installed():
            return missing
        if parse_key(granted.update).name != "gradient":
            return f"is handed gradients here, and not {granted.update}"
        if granted.labels == "none":
            return "needs labels: known or counts; its own rules of label inference are not run here"
        if conditions.channels != 3:
            return f"breaching's total variation takes images of 3 channels, and not of {conditions.channels}"
        if self.evaluations(conditions.budget) <= self.scorings:
            return "a budget of 1 evaluation is too small: one scores the result"
        return self._lacks_statistics(conditions) if self.alpha_bn else None

    def _lacks_statistics(self, conditions: Conditions) -> str | None:
        of_images = all(isinstance(layer, nn.BatchNorm2d) for layer in _bn_layers(conditions.network))
        return reason_without_statistics(conditions) or (
            None if of_images else "breaching compares statistics of BatchNorm2d layers alone"
        )

    @property
    def uses_statistics(self) -> bool:
        """Whether batch-norm statistics are compared."""
        return self.alpha_bn > 0

    def prior_only(self) -> "BreachingAttack | None":
        """The same attack blind to the update; None where no prior is left."""
        return self._blind({})

    def no_statistics(self) -> "BreachingAttack | None":
        """Blind to granted statistics too."""
        return self._blind({"alpha_bn": 0.0})

    def _blind(self, without: Mapping[str, float]) -> "BreachingAttack | None":
        blind = type(self)(**{**self.hyperparameters, **without})
        blind.sees_update = False
        priors = [scale for name, scale in blind.options.items() if name.startswith("regularization")]
        return blind if any(priors) else None

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Run breaching's attack on the leak; the iterate that it returns is the one it calls best."""
        victim.require_fit(leak)
        if leak.transform:
            raise UnansweredError(f"breaching has no answer to {leak.transform}")
        iterations = self.evaluations(budget) - self.scorings
        attacker = self.attacker(leak, victim, iterations)
        candidates = kept_candidates(attacker)
        with drawing(seed, victim.device), granted_statistics(attacker, leak, victim):
            result, stats = attacker.reconstruct(*payloads(leak), {})
        return self._reconstruction(leak, victim, result["data"], candidates[-1], stats["Trial_0_Val"], iterations)

    def attacker(self, leak: Leak, victim: Victim, iterations: int) -> Any:
        """breaching's attacker with these options and so many iterations, on the victim itself."""
        breaching = imported()
        precision = "double" if leak.threat_model.dtype == torch.float64 else "float"
        options = {**self.options, "optim.max_iterations": iterations, "impl.dtype": precision}
        config = preset_config(self.preset, tuple(f"{name}={value}" for name, value in options.items()))
        setup = {"device": victim.device, "dtype": leak.threat_model.dtype}
        attacker = breaching.attacks.prepare_attack(LentNetwork(victim), nn.CrossEntropyLoss(), config, setup)
        if not self.sees_update:
            attacker.objective = NoDistance(victim)
            attacker._score_trial = lambda *_: torch.zeros(())
        return attacker

    def _reconstruction(
        self, leak: Leak, victim: Victim, images: Tensor, last: Tensor, values: list[float], iterations: int
    ) -> Reconstruction:
        # Where the objective is not finite breaching stops, and that evaluation is no point of its curve.
        diverged = len(values) < iterations
        every = math.ceil(iterations / CURVE_POINTS)
        used = {"gradient": self.sees_update, "labels": self.sees_update, "bn_statistics": self.uses_statistics}
        seen = [leak.batch_size * count for count in victim.bn_values(leak.image_shape)] if self.alpha_bn else []
        return Reconstruction(
            images=images.detach(),
            final=last.detach().clone(),
            labels=leak.labels if leak.labels is not None else torch.empty(0, dtype=torch.int64),
            label_method="given",
            uses=tuple(name for name, is_used in used.items() if is_used),
            objective_start=values[0] if values else None,
            objective_end=min(values, default=None),
            evaluations=len(values) + diverged + self.scorings,
            diverged=diverged,
            curve=tuple((step + 1, values[step]) for step in range(0, len(values), every)),
            notes=limits_of_statistics(seen),
        )


@register_attack("breaching_inverting_gradients", paper=GEIPING_2020)
class BreachingInvertingGradients(BreachingAttack):
    """Inverting Gradients as breaching 0.1.2 has it (its preset `invertinggradients`).

    Its total variation is the mean of the absolute differences like ours, with a border of zeros around the image;
    `border` false puts ours in its place, at its weight. Its iterate is the one *after* the step from the best
    objective, its images start outside the pixel box.
    """

    preset = "invertinggradients"

    def __init__(
        self,
        *,
        alpha_tv: Weight = 0.2,
        border: bool = True,
        lr: Annotated[float, Field(gt=0)] = 0.1,
        iterations: Count = 24_000,
    ) -> None:
        self.alpha_tv, self.border, self.lr, self.iterations = alpha_tv, border, lr, iterations

    @property
    def options(self) -> dict[str, float]:
        """As breaching calls them."""
        return {"regularization.total_variation.scale": self.alpha_tv, "optim.step_size": self.lr}

    def attacker(self, leak: Leak, victim: Victim, iterations: int) -> Any:
        """breaching's, with its border or without."""
        attacker = super().attacker(leak, victim, iterations)
        if not self.border:
            without_border(attacker)
        return attacker


@register_attack(
    "breaching_gradinversion",
    paper=YIN_2021,
    letter="B",
    needs="batch-norm statistics; exact ones are letter E",
)
class BreachingGradInversion(BreachingAttack):
    """GradInversion as breaching 0.1.2 has it (its preset `seethroughgradients`): one agent, no group.

    Not the paper's terms: `alpha_grad` times half the *squared* l2 distance of all gradients, a mean absolute total
    variation with a border of zeros, half the mean square of the image, the first batch-norm layer tenfold; and noise
    of `alpha_noise` times the learning rate on the gradient before Adam, not on the image. Statistics are those
    granted.
    """

    preset = "seethroughgradients"

    def __init__(
        self,
        *,
        alpha_grad: Annotated[float, Field(gt=0)] = 1e-4,
        alpha_tv: Weight = 1e-4,
        alpha_l2: Weight = 1e-6,
        alpha_bn: Weight = 0.1,
        alpha_noise: Weight = 0.01,
        lr: Annotated[float, Field(gt=0)] = 0.1,
        iterations: Count = 20_000,
    ) -> None:
        self.alpha_grad, self.alpha_tv, self.alpha_l2, self.alpha_bn = alpha_grad, alpha_tv, alpha_l2, alpha_bn
        self.alpha_noise, self.lr, self.iterations = alpha_noise, lr, iterations

    @property
    def options(self) -> dict[str, float]:
        """As breaching calls them."""
        return {
            "objective.scale": self.alpha_grad,
            "regularization.total_variation.scale": self.alpha_tv,
            "regularization.norm.scale": self.alpha_l2,
            "regularization.deep_inversion.scale": self.alpha_bn,
            "optim.langevin_noise": self.alpha_noise,
            "optim.step_size": self.lr,
        }


register_preset("breaching_gradinversion.no_bn", alpha_bn=0.0)


def _bn_layers(network: nn.Module | None) -> list[nn.Module]:
    found = network.modules() if network is not None else ()
    return [layer for layer in found if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
