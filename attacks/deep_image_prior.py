"""An untrained generator as prior: its weights are optimised, and the images are what it makes of fixed codes."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import conv2d, group_norm, interpolate, leaky_relu, linear

from gradinv.attacks.gradient_matching import (
    Adam,
    GradientMatching,
    LabelPolicy,
    ReconstructionError,
    TotalVariation,
    create_distance,
    step_decay,
    valid_range,
)
from gradinv.attacks.leak import Leak
from gradinv.attacks.registry import Paper, register_attack
from gradinv.attacks.victim import Victim

ZHANG_2023 = Paper(
    title="Generative Gradient Inversion via Over-Parameterized Networks in Federated Learning",
    authors="Chi Zhang, Xiaoman Zhang, Ekanut Sotthiwat, Yanyu Xu, Ping Liu, Liangli Zhen, Yong Liu",
    venue="ICCV 2023",
    year=2023,
    url="https://openaccess.thecvf.com/content/ICCV2023/html/"
    "Zhang_Generative_Gradient_Inversion_via_Over-Parameterized_Networks_in_Federated_Learning_ICCV_2023_paper.html",
)
CODE = 128
"""Numbers that stand for an image, drawn once and never moved."""
LEAST_SIDE = 4
"""Side of the smallest feature maps, in pixels, or a little more."""


@register_attack("deep_image_prior", paper=ZHANG_2023)
class DeepImagePrior(GradientMatching):
    """Match by the weights of an untrained convolutional generator (Ulyanov et al. 2018; Zhang et al. 2023).

    One generator makes all images of the batch, each from a fixed code N(0, 1), through maps of `width` channels whose
    sides double from 4 pixels on; a sigmoid keeps pixels in their range. Adam, whose rate falls by 10 at 3/8, 5/8 and
    7/8 of the iterations, as the paper's does not; its generator is larger than ours, and the ReLUs of its victims were
    made sigmoids, as ours are not. Smooth images come out of any gradient: only the controls tell what leaked.
    """

    def __init__(
        self,
        *,
        distance: str = "cosine",
        alpha_tv: Annotated[float, Field(ge=0)] = 0.0,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        width: Annotated[int, Field(ge=1)] = 64,
        iterations: Annotated[int, Field(ge=1)] = 2_000,
        restarts: Annotated[int, Field(ge=1)] = 1,
        label_rule: str | None = None,
        alpha_autoencoder: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__(
            distance=create_distance(distance),
            priors=[TotalVariation(alpha_tv), ReconstructionError(alpha_autoencoder)],
            optimizer=Adam(lr, step_decay(3 / 8, 5 / 8, 7 / 8)),
            iterations=iterations,
            restarts=restarts,
            labels=LabelPolicy(rule=label_rule or "sum", rule_needs_single_image=label_rule is None),
        )
        self.width = width

    @property
    def search_space(self) -> dict[str, float]:
        """The learning rate, and the weight of the prior that the paper has not where there is one."""
        return {"lr": 10.0, "alpha_tv": 1e3}

    def start(self, leak: Leak, victim: Victim, seed: int) -> list[Tensor]:
        """Weights, a tensor a layer, then what never moves: codes (B, CODE), darkest and brightest image (C, H, W)."""
        generator = torch.Generator().manual_seed(seed)
        dtype = next(iter(leak.gradients.values())).dtype
        shapes = layer_shapes(leak.image_shape, self.width)
        # He's initialisation: the deeper maps of a generator must not be flat where it starts.
        weights = [
            torch.randn(shape, generator=generator, dtype=dtype) * math.sqrt(2 / math.prod(shape[1:]))
            for shape in shapes
        ]
        codes = torch.randn(leak.batch_size, CODE, generator=generator, dtype=dtype)
        ends = valid_range(leak.mean, leak.std, dtype, codes.device)
        # The range of pixels goes with the candidate, for `images` sees nothing but its variables.
        fixed = [codes, *(end[0].expand(leak.image_shape).contiguous() for end in ends)]
        return [variable.to(victim.device) for variable in (*weights, *fixed)]

    def images(self, variables: Sequence[Tensor]) -> Tensor:
        """The images (N, B, C, H, W) that N candidates' generators make of their codes."""
        return torch.stack([generated(list(parts)) for parts in zip(*variables, strict=True)])

    def project(self, variables: Sequence[Tensor], leak: Leak) -> None:
        """Weights may be anywhere."""


def layer_shapes(image_shape: tuple[int, int, int], width: int) -> list[tuple[int, ...]]:
    """Shapes of the weights: a linear layer to the first maps, a 3 x 3 convolution a doubling, one to the channels.

    >>> layer_shapes((3, 32, 32), 8)
    [(128, 128), (8, 8, 3, 3), (8, 8, 3, 3), (8, 8, 3, 3), (3, 8, 3, 3)]
    """
    channels, height, width_in_pixels = image_shape
    doublings = max(1, math.floor(math.log2(min(height, width_in_pixels) / LEAST_SIDE)))
    first = math.prod(-(-side // 2**doublings) for side in (height, width_in_pixels))
    return [(width * first, CODE), *[(width, width, 3, 3)] * doublings, (channels, width, 3, 3)]


def generated(parts: list[Tensor]) -> Tensor:
    """The images (B, C, H, W) of one generator: weights, codes, darkest and brightest image."""
    *weights, codes, darkest, brightest = parts
    first, *middle, last = weights
    height, width = darkest.shape[1:]
    sides = [-(-side // 2 ** len(middle)) for side in (height, width)]
    # What is detached gets no gradient, and what has none is never moved.
    maps = linear(codes.detach(), first).unflatten(1, (-1, *sides))
    for weight in middle:
        maps = leaky_relu(conv2d(interpolate(maps, scale_factor=2.0), weight, padding=1), 0.2)
        # Image by image, so that none depends on the others of its batch.
        maps = group_norm(maps, 1)
    # Maps start with sides rounded up; what has become too large is cut off.
    logits = conv2d(maps, last, padding=1)[..., :height, :width]
    return darkest.detach() + (brightest - darkest).detach() * logits.sigmoid()
