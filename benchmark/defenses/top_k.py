"""Sending the largest entries alone."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Generator, Tensor

from gradinv.attacks.registry import Paper
from gradinv.benchmark.defenses.base import Defense, register_defense
from gradinv.benchmark.defenses.whole_update import flattened, mask_before, shaped, sparse_bytes

AJI_2017 = Paper(
    title="Sparse Communication for Distributed Gradient Descent",
    authors="Alham Fikri Aji, Kenneth Heafield",
    venue="EMNLP 2017",
    year=2017,
    url="https://arxiv.org/abs/1704.05021",
)


@register_defense("top_k", paper=AJI_2017)
class TopK(Defense):
    """Keep the `k` entries of largest magnitude, over all tensors together, and zero all others.

    Exactly k are kept, of equal magnitudes those that come first; all of them where k is no less than their number.
    `k` 0 stands for all. Nothing is remembered from round to round: no error feedback.
    """

    keeps_zeros = True
    knowable = "which entries are sent: it shows"
    cost = "all entries but k; the upload shrinks to k values and places"
    grid = ("top_k[k=1000]", "top_k[k=100]", "top_k[k=10]")
    neutral = "top_k[k=0]"

    def __init__(self, *, k: Annotated[int, Field(ge=0)] = 100) -> None:
        self.k = k

    def on_update(self, update: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """The k largest entries where they were, zeros elsewhere."""
        flat = flattened(update)
        if self.k == 0 or self.k >= flat.numel():
            return update
        # Ranked and not cut at a threshold: `>` at the k-th magnitude keeps k - 1, `>=` all that equal it.
        places = flat.abs().argsort(descending=True, stable=True)[: self.k]
        return shaped(flat.new_zeros(flat.shape).index_copy(0, places, flat[places]), update)

    def known(self) -> str:
        """A mask: which entries were left out shows in what is sent."""
        return self.known_before([])

    def known_before(self, later: Sequence[Defense]) -> str:
        """The same where no later defense fills the zeros."""
        return mask_before(later)

    def upload_bytes(self, sent: Mapping[str, Tensor]) -> float:
        """Value and place of every entry that is not zero."""
        return sparse_bytes(sent)
