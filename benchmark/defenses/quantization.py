"""Few bits an entry: levels chosen at random without bias (QSGD), evenly spaced levels, and the sign alone."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from gradinv.attacks.registry import Paper
from gradinv.benchmark.defenses.base import Defense, dense_bytes, register_defense

ALISTARH_2017 = Paper(
    title="QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding",
    authors="Dan Alistarh, Demjan Grubic, Jerry Li, Ryota Tomioka, Milan Vojnovic",
    venue="NeurIPS 2017",
    year=2017,
    url="https://arxiv.org/abs/1610.02132",
)
BERNSTEIN_2018 = Paper(
    title="signSGD: Compressed Optimisation for Non-Convex Problems",
    authors="Jeremy Bernstein, Yu-Xiang Wang, Kamyar Azizzadenesheli, Anima Anandkumar",
    venue="ICML 2018",
    year=2018,
    url="https://arxiv.org/abs/1802.04434",
)
_SCALE = 4  # bytes of the number that each tensor's levels are multiplied by


@register_defense("quantization", paper=ALISTARH_2017)
class Quantization(Defense):
    """Round every entry to one of few levels, tensor by tensor.

    `rounding` random is QSGD (Alistarh et al. 2017, section 3.1): ||g||_2 sign(g) xi, where xi is one of the two
    multiples of 1 / `levels` around |g| / ||g||_2, drawn so that its expectation is |g| / ||g||_2. The error's expected
    square is at most min(n / levels^2, sqrt(n) / levels) ||g||^2. `rounding` nearest is the plain quantizer: the
    nearest of `levels` levels on either side of zero, up to the largest magnitude; 127 levels are 8 bits. `levels` 0
    changes no bit.
    """

    randomises = True
    keeps_zeros = True
    knowable = "levels, scale and every rounded entry: only what was rounded off is gone"
    cost = "the digits below a level; the upload shrinks to a few bits an entry"
    grid = ("quantization[levels=127,rounding=nearest]", "quantization[levels=16]", "quantization[levels=1]")
    neutral = "quantization[levels=0]"

    def __init__(
        self, *, levels: Annotated[int, Field(ge=0, le=2**15)] = 16, rounding: Literal["random", "nearest"] = "random"
    ) -> None:
        self.levels, self.rounding = levels, rounding
        self.randomises = rounding == "random"

    def on_update(self, update: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """The rounded tensors."""
        if self.levels == 0:
            return update
        return {name: self._rounded(value, generator) for name, value in update.items()}

    def _rounded(self, value: Tensor, generator: Generator) -> Tensor:
        scale = torch.linalg.vector_norm(value) if self.rounding == "random" else value.abs().max()
        if scale == 0:
            return value
        places = value.abs() / scale * self.levels
        if self.rounding == "nearest":
            steps = places.round()
        else:
            # Up with the probability of what lies above the level below: so the expectation is the entry itself.
            draws = torch.rand(value.shape, generator=generator, dtype=value.dtype).to(value.device)
            steps = places.floor() + (draws < places.frac()).to(value)
        return scale * value.sign() * steps / self.levels

    def known(self) -> str:
        """The nearest of the same levels, with the gradient passed straight through the rounding."""
        norm = "l2" if self.rounding == "random" else "max"
        return f"quantized[levels={self.levels},norm={norm}]" if self.levels else ""

    def upload_bytes(self, sent: Mapping[str, Tensor]) -> float:
        """A sign and a level for every entry at a fixed number of bits, and a scale a tensor."""
        if self.levels == 0:
            return dense_bytes(sent)
        # So many levels on either side of zero, and zero.
        bits = math.ceil(math.log2(2 * self.levels + 1))
        return sum(bits * value.numel() / 8 + _SCALE for value in sent.values())


@register_defense("sign", paper=BERNSTEIN_2018)
class Sign(Defense):
    """Send the sign of every entry times `size` (Bernstein et al. 2018, Algorithm 1); the sign of zero is zero.

    The server chooses the length of the step; `size` is what stands for it here.
    """

    keeps_zeros = True
    sends_signs = True
    knowable = "everything: the sign is a function of the update"
    cost = "every magnitude; the upload shrinks to a bit and a half an entry"
    grid = ("sign[size=0.001]", "sign[size=0.01]", "sign[size=0.1]")
    never_neutral = "no size of a sign is the entry itself"

    def __init__(self, *, size: Annotated[float, Field(gt=0)] = 0.01) -> None:
        self.size = size

    def on_update(self, update: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """The signs."""
        return {name: self.size * value.sign() for name, value in update.items()}

    def known(self) -> str:
        """A smooth sign of the candidate's entries, of the same size."""
        return f"signed[size={self.size}]"

    def upload_bytes(self, sent: Mapping[str, Tensor]) -> float:
        """One of three values an entry: log2(3) bits."""
        return sum(math.log2(3) * value.numel() / 8 for value in sent.values())
