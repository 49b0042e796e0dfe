"""Mixed images taken apart: the shares of the mixture are found together with the images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from gradinv.attacks.transforms import BeforeTheUpdate, Seen, UnansweredError, register_transform

if TYPE_CHECKING:
    from gradinv.attacks.leak import Leak
    from gradinv.attacks.victim import Victim

HEAD_START = 1.0
"""How far an image's own place is ahead of the others where shares begin, in logits."""


@register_transform("mixed")
class Mixed(BeforeTheUpdate):
    """What the network saw is M x with labels M y, where every row of M (B, B) sums to 1.

    Each row is a softmax of variables, or with `share` batch one share on the diagonal for all images and a softmax
    over the others. Distinct labels determine M, since M y is M then; images are determined where M has an inverse.
    """

    secrets = 1
    mixes_labels = True

    def __init__(self, *, share: Literal["image", "batch"] = "image") -> None:
        self.share = share

    def start(self, leak: "Leak", victim: "Victim") -> list[Tensor]:
        """Logits (B, B) that favour an image's own place; UnansweredError for a single image, which has no partner."""
        if leak.batch_size == 1:
            raise UnansweredError("a single image is mixed with no other")
        # Favoured without loss: the order of the rows tells nothing, and a mixture can be put where its main image is.
        like = next(iter(leak.gradients.values()))
        return [HEAD_START * torch.eye(leak.batch_size, dtype=like.dtype)]

    def seen(self, images: Tensor, labels: Tensor, secrets: Sequence[Tensor]) -> Seen:
        """The mixtures of images (B, C, H, W) and of probabilities (B, classes)."""
        shares = self._shares(secrets[0])
        return Seen(torch.einsum("ij,jchw->ichw", shares, images), shares @ labels)

    def _shares(self, logits: Tensor) -> Tensor:
        if self.share == "image":
            return logits.softmax(dim=1)
        unit = torch.eye(len(logits), dtype=logits.dtype, device=logits.device)
        # One share for all images, of the mean of what each has for it.
        kept = logits.diagonal().mean().sigmoid()
        # A large number and not infinity, whose product with a zero would be none.
        return kept * unit + (1 - kept) * (logits - 1e9 * unit).softmax(dim=1)
