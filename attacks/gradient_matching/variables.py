"""What the optimizer moves, the variables of N candidates; what an evaluation of one is given, and what it gives."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

Gradients = list[Tensor | None]
"""One a tensor; None where the objective does not depend on it."""


class Evaluated(NamedTuple):
    """What an evaluation gives: the objective, its gradients, and its terms (T,), weighted, whose sum it is.

    Of N candidates together each of them has a first dimension N.
    """

    value: Tensor
    slopes: Gradients
    terms: Tensor


class Given(TypedDict):
    """What one trial gives an evaluation besides the candidate.

    Labels (none where they are optimised), the target of the distance, granted statistics (none where no prior needs
    them), the update as it was observed (nothing where no transform needs it), and what the weighted terms are
    multiplied by, (T,) in one tensor (nothing where weights are taken as they are). `autoencoder` is what public images
    have taught, with the mean and std of the leak (nothing where no prior needs it). `state` holds by name the weights
    that the update is from, nothing where they are the victim's own. `later` are further updates of the batch: their
    target, observed update and state, and nothing else.
    """

    labels: list[Tensor]
    target: list[Tensor]
    granted: list[tuple[Tensor, Tensor]]
    observed: list[Tensor]
    factors: list[Tensor]
    autoencoder: dict[str, Tensor]
    state: dict[str, Tensor]
    later: "list[Given]"


def pulled(
    outputs: Sequence[Tensor], leaves: Sequence[Tensor], cotangents: Sequence[Tensor], factor: Tensor
) -> Gradients:
    """Gradients for the leaves, which a factor left out of the cotangents scales."""
    # Autograd refuses outputs without a tape: zeros of a parameter that the logits do not depend on, and the penalty
    # where there are no priors.
    used = [index for index, output in enumerate(outputs) if output.requires_grad]
    unscaled = torch.autograd.grad(
        [outputs[index] for index in used], leaves, [cotangents[index] for index in used], allow_unused=True
    )
    return [None if slope is None else slope.mul_(factor) for slope in unscaled]


def added(evaluated: Evaluated, later: Evaluated) -> Evaluated:
    """An evaluation with a further update's share, which is in the first of its terms."""
    pairs = zip(evaluated.slopes, later.slopes, strict=True)
    slopes = [
        slope if further is None else further if slope is None else slope.add_(further) for slope, further in pairs
    ]
    terms = torch.cat([evaluated.terms[:1] + later.terms, evaluated.terms[1:]])
    return Evaluated(evaluated.value + later.value, slopes, terms)


class Variables:
    """Tensors (N, ...) and what they stand for.

    `images` makes the images (N, B, C, H, W) from them, `project` brings them back, in place, to where they may be.
    The last `beside` tensors are handed to the objective as they are, such as label logits (N, B, classes).
    """

    def __init__(
        self,
        tensors: list[Tensor],
        *,
        images: Callable[[Sequence[Tensor]], Tensor],
        project: Callable[[Sequence[Tensor]], None],
        beside: int,
    ) -> None:
        self.tensors, self.images, self.project, self.beside = tensors, images, project, beside
        self._leaves, self._images = tensors, tensors[0]

    def candidates(self) -> list[Tensor]:
        """Images and what is beside them as they stand now; remembered for `gradients`."""
        self._leaves = [tensor.detach().requires_grad_(True) for tensor in self.tensors]
        with torch.enable_grad():
            self._images = self.images(self._leaves)
        images = self.tensors[0] if self._are_images else self._images.detach()
        return [images, *self.tensors[len(self.tensors) - self.beside :]]

    def gradients(self, slopes: Gradients) -> Gradients:
        """Gradients for the variables from those for the last `candidates`, by the chain rule."""
        gradients: Gradients = [None] * len(self.tensors)
        if self._are_images:
            gradients[0] = slopes[0]
        elif slopes[0] is not None:
            # Unused are variables that the images do not depend on, such as label logits.
            gradients = [*torch.autograd.grad(self._images, self._leaves, slopes[0], allow_unused=True)]
        gradients[len(gradients) - self.beside :] = slopes[1:]
        return gradients

    @property
    def _are_images(self) -> bool:
        """Whether the first tensor is the images themselves: then nothing is copied and there is no chain rule."""
        return self._images is self._leaves[0]


# Cached, because it is asked for at every step, and to make tensors from numbers of the host waits for the device.
@lru_cache(maxsize=16)
def valid_range(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The images of pixel values 0 and 1 after normalisation, each (1, C, 1, 1)."""
    means = torch.tensor(mean, device=device, dtype=dtype).view(1, -1, 1, 1)
    stds = torch.tensor(std, device=device, dtype=dtype).view(1, -1, 1, 1)
    return -means / stds, (1 - means) / stds
