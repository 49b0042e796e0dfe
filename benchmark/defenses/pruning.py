"""Pruning of the smallest gradient entries."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Generator, Tensor

from gradinv.attacks.dlg import ZHU_2019
from gradinv.benchmark.defenses.base import Defense, register_defense
from gradinv.benchmark.defenses.whole_update import flattened, mask_before, shaped, sparse_bytes


@register_defense("pruning", paper=ZHU_2019)
class Pruning(Defense):
    """Set the share `ratio` of entries with the smallest magnitude to zero, over all tensors together or in each.

    Gradient compression as a defense (Zhu et al. 2019, section 5.3). Exactly floor(ratio * n) entries of n are zeroed,
    of equal ones those that come first; ratio 0 changes no bit. With `per_layer` that holds of every tensor by itself.
    """

    keeps_zeros = True
    knowable = "which entries were zeroed: it shows in what is sent"
    cost = "the small entries; the upload shrinks to values and places of the others"
    grid = ("pruning[ratio=0.7]", "pruning[ratio=0.9]", "pruning[ratio=0.99]")
    neutral = "pruning[ratio=0]"

    def __init__(self, *, ratio: Annotated[float, Field(ge=0, le=1)] = 0.9, per_layer: bool = False) -> None:
        self.ratio, self.per_layer = ratio, per_layer

    def on_update(self, update: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """The pruned update."""
        if self.per_layer:
            return {name: self._pruned(value.reshape(-1)).reshape(value.shape) for name, value in update.items()}
        return shaped(self._pruned(flattened(update)), update)

    def _pruned(self, flat: Tensor) -> Tensor:
        count = int(self.ratio * flat.numel())
        if count == 0:
            return flat
        kept = flat.clone()
        # Ranked and not cut at a threshold, which would keep or lose equal magnitudes together and miss the count.
        kept[flat.abs().argsort(stable=True)[:count]] = 0
        return kept

    def known(self) -> str:
        """A mask: which entries were pruned shows in what is sent."""
        return self.known_before([])

    def known_before(self, later: Sequence[Defense]) -> str:
        """The same where no later defense fills the zeros."""
        return mask_before(later)

    def upload_bytes(self, sent: Mapping[str, Tensor]) -> float:
        """Value and place of every entry that is not zero, or all of them where that is shorter."""
        return sparse_bytes(sent)
