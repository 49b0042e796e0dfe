"""Augmentations of images as differentiable functions, numbered, and policies of them.

A client may train on augmented images, and an attacker who knows the policy puts his candidates through the same.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, pad

from gradinv.attacks.transforms import BeforeTheUpdate, Seen, register_transform
from gradinv.metrics.registry import InvalidEntryError

if TYPE_CHECKING:
    from gradinv.attacks.leak import Leak
    from gradinv.attacks.victim import Victim

Policy = tuple[int, ...]
"""Numbers of augmentations, in their order."""


class Augmentation(NamedTuple):
    """One augmentation of normalised images (B, C, H, W) at a fixed magnitude."""

    kind: str
    magnitude: float

    def __call__(self, images: Tensor) -> Tensor:
        """The augmented images, of the same shape."""
        return _KINDS[self.kind](images, self.magnitude)


def _moved(rows: Callable[[float], Sequence[Sequence[float]]]) -> Callable[[Tensor, float], Tensor]:
    """An affine motion from its matrix (2, 3); what comes from outside is zero, the mean of normalised images."""

    def move(images: Tensor, magnitude: float) -> Tensor:
        matrix = images.new_tensor(rows(magnitude)).expand(len(images), 2, 3)
        # Corners not aligned: -1 and 1 are the image's edges, and a share of the side is that share of its pixels.
        grid = affine_grid(matrix, list(images.shape), align_corners=False)
        return grid_sample(images, grid, align_corners=False)

    return move


def _turned(degrees: float) -> list[list[float]]:
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    return [[cosine, -sine, 0.0], [sine, cosine, 0.0]]


def _blended(images: Tensor, other: Tensor, share: float) -> Tensor:
    return other + share * (images - other)


_KINDS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "shear_x": _moved(lambda m: [[1.0, m, 0.0], [0.0, 1.0, 0.0]]),
    "shear_y": _moved(lambda m: [[1.0, 0.0, 0.0], [m, 1.0, 0.0]]),
    # In halves of the side, which is what a grid from -1 to 1 measures in.
    "translate_x": _moved(lambda m: [[1.0, 0.0, 2 * m], [0.0, 1.0, 0.0]]),
    "translate_y": _moved(lambda m: [[1.0, 0.0, 0.0], [0.0, 1.0, 2 * m]]),
    "rotate": _moved(_turned),
    "flip": lambda images, _: images.flip(-1),
    "invert": lambda images, _: -images,
    "brightness": lambda images, m: images + m,
    "contrast": lambda images, m: _blended(images, images.mean((1, 2, 3), keepdim=True), m),
    "color": lambda images, m: _blended(images, images.mean(1, keepdim=True), m),
    "sharpness": lambda images, m: _blended(images, avg_pool2d(pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1), m),
}

LIBRARY: tuple[Augmentation, ...] = (
    *(Augmentation("shear_x", m) for m in (-0.3, 0.15, 0.3)),
    *(Augmentation("shear_y", m) for m in (-0.3, 0.15, 0.3)),
    *(Augmentation("translate_x", m) for m in (-0.3, 0.15, 0.3)),
    *(Augmentation("translate_y", m) for m in (-0.3, 0.15, 0.3)),
    *(Augmentation("rotate", m) for m in (-30.0, 15.0, 30.0)),
    *(Augmentation("flip", 1.0), Augmentation("invert", 1.0)),
    *(Augmentation("brightness", m) for m in (-0.8, 0.8)),
    *(Augmentation("contrast", m) for m in (0.4, 1.8)),
    *(Augmentation("color", m) for m in (0.0, 1.8)),
    *(Augmentation("sharpness", m) for m in (0.0, 1.8)),
)
"""Augmentations by number, from 0."""


def parse_policies(text: str) -> tuple[Policy, ...]:
    """The policies of a text such as `3-1-7/4-18`: numbers of `LIBRARY`, joined by `-`, policies by `/`.

    Empty: none. InvalidEntryError for anything else.

    >>> parse_policies("3-1-7/4-18")
    ((3, 1, 7), (4, 18))
    """
    try:
        policies = tuple(tuple(int(number) for number in part.split("-")) for part in text.split("/") if text)
    except ValueError:
        # A number that no augmentation has: it is refused below like any other wrong one.
        policies = ((-1,),)
    if any(not 0 <= number < len(LIBRARY) for policy in policies for number in policy):
        raise InvalidEntryError(f"policy {text!r}: write numbers from 0 to {len(LIBRARY) - 1}, as in 3-1-7/4-18")
    return policies


def apply_policy(images: Tensor, policy: Policy) -> Tensor:
    """Normalised images (B, C, H, W) after the augmentations of a policy, in their order."""
    for number in policy:
        images = LIBRARY[number](images)
    return images


@register_transform("augmented")
class Augmented(BeforeTheUpdate):
    """What the network saw is the candidate after a policy; of several each image's is a softmax over them."""

    def __init__(self, *, policy: str | int = "") -> None:
        self.policies = parse_policies(str(policy))  # a single number is read as one
        self.secrets = 1 if len(self.policies) > 1 else 0

    def start(self, leak: "Leak", victim: "Victim") -> list[Tensor]:
        """Logits (B, policies) that favour none."""
        like = next(iter(leak.gradients.values()))
        return [like.new_zeros(leak.batch_size, len(self.policies))] if self.secrets else []

    def seen(self, images: Tensor, labels: Tensor, secrets: Sequence[Tensor]) -> Seen:
        """The augmented images, and labels as they are."""
        if not self.secrets:
            return Seen(apply_policy(images, *self.policies) if self.policies else images, labels)
        augmented = torch.stack([apply_policy(images, policy) for policy in self.policies], dim=1)
        return Seen(torch.einsum("bp,bpchw->bchw", secrets[0].softmax(dim=1), augmented), labels)
