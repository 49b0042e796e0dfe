"""DP-SGD: every example's gradient clipped, and noise that hides any one of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from gradinv.attacks.update import cross_entropy
from gradinv.attacks.victim import bn_layers, call_with, trained_parameters
from gradinv.benchmark.defenses.base import ClientStep, Defense, UndefendableError, register_defense
from gradinv.benchmark.defenses.clipping import ABADI_2016
from gradinv.metrics.keys import UNBOUNDED
from gradinv.metrics.registry import InvalidEntryError

_AT_ONCE = 8  # examples whose gradients are held together: each is as large as the network


@register_defense("dp_sgd", paper=ABADI_2016)
class DPSGD(Defense):
    """(sum over examples of g_i min(1, C / ||g_i||) + N(0, (sigma C)^2)) / B (Abadi et al. 2016, Algorithm 1).

    `max_norm` is C, `sigma` the noise multiplier. Sigma 0 is clipping per example; with C inf as well no bit changes.
    What a training with it guarantees, `dp_epsilon` says, of sampling rate, rounds and delta. Impossible where examples
    share statistics (batch norm in train mode), and for updates of several steps.
    """

    computes_update = True
    randomises = True
    acts = ("per example",)
    knowable = "bound, multiplier and batch size; never the draw, and no example's own factor"
    cost = "a gradient for every example; noise of sqrt(n) sigma C / B beside an update of at most C"
    grid = ("dp_sgd[max_norm=1.0,sigma=0.01]", "dp_sgd[max_norm=1.0,sigma=0.1]", "dp_sgd[max_norm=1.0,sigma=1.0]")
    neutral = "dp_sgd[max_norm=inf,sigma=0]"

    def __init__(
        self,
        *,
        max_norm: Annotated[float, Field(gt=0), UNBOUNDED] = 1.0,
        sigma: Annotated[float, Field(ge=0)] = 0.1,
    ) -> None:
        if max_norm == float("inf") and sigma:
            raise InvalidEntryError("dp_sgd: noise is sigma times max_norm, so that max_norm=inf asks for sigma=0")
        self.max_norm, self.sigma = max_norm, sigma

    def on_step(self, update: dict[str, Tensor], step: ClientStep, generator: Generator) -> dict[str, Tensor]:
        """The mean of the clipped gradients, with noise."""
        if step.update != "gradient":
            raise UndefendableError(f"dp_sgd clips each example's gradient, and an update {step.update} has none")
        if step.bn_mode == "train" and bn_layers(step.module):
            raise UndefendableError("dp_sgd: batch norm in train mode mixes the examples, so that none has a gradient")
        if self.max_norm == float("inf"):
            return update
        count = len(step.images)
        total = self._clipped_sum(step)
        return {name: (value + self._noise(value, generator)) / count for name, value in total.items()}

    def known(self) -> str:
        """The bound on the mean: of one image the clipping itself, of more what follows from it for their mean."""
        return "" if self.max_norm == float("inf") else f"clipped[max_norm={self.max_norm}]"

    def _clipped_sum(self, step: ClientStep) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for start in range(0, len(step.images), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            drawn = {name: value[rows] for name, value in step.drawn.items()}
            examples = example_gradients(step.module, step.images[rows], step.labels[rows], drawn)
            lengths = torch.stack([value.flatten(1).norm(dim=1) for value in examples.values()]).norm(dim=0)
            # `clamp`: an example with a gradient of zero keeps it.
            factors = (self.max_norm / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)).clamp_max(1.0)
            for name, value in examples.items():
                part = torch.tensordot(factors, value, dims=1)
                total[name] = total[name] + part if name in total else part
        return total

    def _noise(self, value: Tensor, generator: Generator) -> Tensor | float:
        if self.sigma == 0:
            return 0.0
        drawn = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        return self.sigma * self.max_norm * drawn.to(value.device)


def example_gradients(
    module: nn.Module, images: Tensor, labels: Tensor, drawn: Mapping[str, Tensor] = MappingProxyType({})
) -> dict[str, Tensor]:
    """The gradient of each example's own cross-entropy, (B, *parameter) by name, in one vectorised pass.

    The network's forward pass must not mix the examples. `drawn` are buffers (B, ...) that stand in for its own.
    """
    parameters = {name: value.detach() for name, value in trained_parameters(module).items()}

    def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        buffers = {name: value[None] for name, value in drawn.items()}
        return cross_entropy(call_with(module, {**parameters, **buffers}, image[None]), label[None])

    # The parameters are shared, and so have no dimension of the batch; the gradients have one each.
    return torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0))(parameters, images, labels, dict(drawn))
