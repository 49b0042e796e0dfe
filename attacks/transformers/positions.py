"""Learnt position embeddings: which parameters they are, and a distance that weighs their gradient once more."""

import re
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from gradinv.attacks.gradient_matching import Distance, Pullback
from gradinv.metrics.registry import RequestError

NAMES = re.compile(
    r"(abs_|absolute_|patch_|pixel_)?pos(_emb|_embed|_embedding|itional_embedding|ition_embeddings?)?(_win|_window)?_?\d*"
)
"""What absolute position embeddings are called, by the last part of their names: timm's `pos_embed`, and others."""


class NoPositionsError(RequestError):
    """A network without a trained absolute position embedding; its text is the reason in one line."""


def position_embeddings(parameters: Iterable[tuple[str, nn.Parameter]]) -> list[str]:
    """Names of the trained absolute position embeddings among named parameters; NoPositionsError where none is.

    Known by their names. Tables of relative positions, rotations and convolutions in their place are none: their
    gradients are not those of tokens.

    >>> table = nn.Parameter(Tensor(1, 5, 8))
    >>> position_embeddings([("pos_embed", table), ("blocks.0.attn.rel_pos_h", table), ("pos_embed.proj.bias", table)])
    ['pos_embed']
    """
    embeddings = {name: value for name, value in parameters if NAMES.fullmatch(name.rpartition(".")[2])}
    if not embeddings:
        raise NoPositionsError("needs an absolute position embedding, and none of the network's parameters is one")
    trained = [name for name, value in embeddings.items() if value.requires_grad]
    if not trained:
        raise NoPositionsError(
            f"the position embedding {next(iter(embeddings))} is frozen, and its gradient is not sent"
        )
    return trained


class PositionDistance(Distance):
    """`everything` over all gradients, plus `weight` times `positions` over those in these `places` alone.

    `positions` must prepare as many tensors as it is given. Its scale is that of `everything`, which holds for both.

    >>> from gradinv.attacks.gradient_matching import SquaredL2
    >>> distance = PositionDistance(SquaredL2(), SquaredL2(), 10.0, places=(1,))
    >>> observed = distance.prepare([Tensor([0.0, 0.0]), Tensor([0.0])])
    >>> distance.value([Tensor([3.0, 4.0]), Tensor([1.0])], observed).item()
    36.0
    """

    def __init__(self, everything: Distance, positions: Distance, weight: float, places: tuple[int, ...]) -> None:
        super().__init__(everything.scale)
        self.everything, self.positions, self.weight, self.places = everything, positions, weight, places
        self.needs_scale = everything.needs_scale or positions.needs_scale

    def prepare(self, target: Sequence[Tensor]) -> list[Tensor]:
        """What `everything` takes of the observed gradients, then what `positions` takes."""
        return [*self.everything.prepare(target), *self.positions.prepare(self._of_positions(target))]

    def value(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Tensor:
        """The distance, a scalar."""
        first = len(prepared) - len(self.places)
        of_positions = self.positions.value(self._of_positions(gradients), prepared[first:])
        return self.everything.value(gradients, prepared[:first]) + self.scale * self.weight * of_positions

    def pullback(self, gradients: Sequence[Tensor], prepared: Sequence[Tensor]) -> Pullback:
        """The distance with its gradient, by the closed forms of both."""
        first, weight = len(prepared) - len(self.places), self.scale * self.weight
        whole = self.everything.pullback(gradients, prepared[:first])
        part = self.positions.pullback(self._of_positions(gradients), prepared[first:])
        cotangents = list(whole.cotangents)
        for place, cotangent in zip(self.places, part.cotangents, strict=True):
            # The factor of the whole multiplies all cotangents in the end, so that of the part is divided by it now.
            cotangents[place] = cotangents[place] + weight * part.factor / whole.factor * cotangent
        return Pullback(whole.value + weight * part.value, cotangents, whole.factor)

    def _of_positions(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        return [gradients[place] for place in self.places]
