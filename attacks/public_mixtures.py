"""A private image behind a mixture with a public one: which public one it was, and which signs, by what is left."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from gradinv.attacks.gradient_matching import valid_range
from gradinv.attacks.transforms import Transform, UnansweredError, register_transform
from gradinv.attacks.victim import NoClassifierError, find_classifier

if TYPE_CHECKING:
    from gradinv.attacks.leak import Leak
    from gradinv.attacks.victim import Victim

SWEEPS, LAST_SWEEPS = 6, 30
"""Over all pixels for each public image, and for the one that is chosen."""
OUTSIDE = 10.0
"""What a pixel costs outside of the valid range, against a difference between neighbours."""
_AT_ONCE = 32


@register_transform("unhidden")
class Unhidden(Transform):
    """The network saw +-(l x + (1 - l) p): x private, p one of the leak's public images, a sign drawn for every pixel.

    What the network saw is matched as if it were the image, with the factor l that its label leaves in the update free.
    The classifier's bias then tells l. Of every p the image (+-seen - (1 - l) p) / l is made whose pixels lie in the
    valid range and whose neighbours differ least, and the p that leaves least is taken. `least` and `largest` bound l;
    no sign is sought without `flip`. For one image: of more only the mean of their updates is sent.
    """

    def __init__(
        self,
        *,
        least: Annotated[float, Field(gt=0, le=1)] = 0.35,
        largest: Annotated[float, Field(gt=0, le=1)] = 0.65,
        flip: bool = True,
    ) -> None:
        self.least, self.largest, self.flip = least, largest, flip

    def start(self, leak: "Leak", victim: "Victim") -> list[Tensor]:
        """Nothing; UnansweredError for several images, without public images or without what tells the share."""
        if leak.batch_size > 1:
            raise UnansweredError(f"of {leak.batch_size} images only the mean of their updates is sent")
        if leak.public is None or not len(leak.public):
            raise UnansweredError("the leak has no public images")
        if leak.labels is None:
            raise UnansweredError("without the label nothing tells the share of the image")
        _classifier_bias(leak, victim)
        return []

    def __call__(self, candidate: Sequence[Tensor], observed: Sequence[Tensor]) -> list[Tensor]:
        """The candidate's update times the share that brings it nearest to the observed one."""
        along = torch.stack([(value * target).sum() for value, target in zip(candidate, observed, strict=True)]).sum()
        length = torch.stack([value.square().sum() for value in candidate]).sum()
        factor = (along / torch.where(length > 0, length, 1.0)).clamp(self.least, self.largest)
        return [value * factor for value in candidate]

    def private(self, images: Tensor, leak: "Leak", victim: "Victim") -> Tensor:
        """The private image (1, C, H, W) of what the network saw; a picture that diverged stays what it is."""
        assert leak.public is not None  # `start` has refused it
        if not bool(images.isfinite().all()):
            return images
        share = self._share(images, leak, victim)
        mixture = Mixture(share, *valid_range(leak.mean, leak.std, images.dtype, images.device), flip=self.flip)
        return private_image(images[0], leak.public.to(images), mixture)[None]

    @torch.no_grad()
    def _share(self, images: Tensor, leak: "Leak", victim: "Victim") -> float:
        """What the label has: the bias's gradient over what it would be of the whole label."""
        assert leak.labels is not None  # `start` has refused it
        whole = victim.module(images).softmax(dim=1)[0]
        whole[leak.labels[0]] -= 1
        sent = leak.gradients[_classifier_bias(leak, victim)]
        share = float((sent @ whole) / whole.square().sum().clamp_min(torch.finfo(whole.dtype).tiny))
        return min(max(share, self.least), self.largest)


class Mixture(NamedTuple):
    """How an image was hidden: its share, the ends of what a pixel may be, and whether signs were flipped."""

    share: float
    darkest: Tensor
    brightest: Tensor
    flip: bool = True


def private_image(seen: Tensor, public: Tensor, mixture: Mixture) -> Tensor:
    """The image (C, H, W) that is left of a mixture (C, H, W) by the public image (of P, C, H, W) that leaves least.

    >>> public = torch.tensor([0.9, 0.1]).view(2, 1, 1, 1).expand(2, 1, 4, 4)
    >>> hidden = -(0.5 * torch.full((1, 4, 4), 0.2) + 0.5 * public[0])
    >>> ends = (torch.zeros(1, 1, 1), torch.ones(1, 1, 1))
    >>> round(private_image(hidden, public[:1], Mixture(0.5, *ends)).mean().item(), 4)
    0.2
    """
    costs = [_cost(_without(seen, some, mixture, SWEEPS), mixture) for some in public.split(_AT_ONCE)]
    chosen = int(torch.cat(costs).argmin())
    return _without(seen, public[chosen : chosen + 1], mixture, LAST_SWEEPS)[0]


def _without(seen: Tensor, public: Tensor, mixture: Mixture, sweeps: int) -> Tensor:
    """What is left of the mixture without each public image (P, C, H, W), pixel by pixel with the likelier sign."""
    rest = (1 - mixture.share) * public
    one, other = (seen - rest) / mixture.share, (-seen - rest) / mixture.share
    if not mixture.flip:
        return one
    ones, others = (OUTSIDE * _beyond(image, mixture) for image in (one, other))
    image = torch.where(ones <= others, one, other)
    height, width = seen.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    odd = ((rows + columns) % 2 == 1).to(seen.device)
    # Half of the pixels at a time, as on a chessboard: what decides a pixel stands still meanwhile.
    for squares in [odd, ~odd] * sweeps:
        beside = _neighbours(image)
        nearer = (beside - one).abs().sum(0) + ones <= (beside - other).abs().sum(0) + others
        image = torch.where(squares, torch.where(nearer, one, other), image)
    return image


def _neighbours(image: Tensor) -> Tensor:
    """Those above, below, left and right (4, P, C, H, W); at the border the pixel itself."""
    framed = pad(image, (1, 1, 1, 1), mode="replicate")
    return torch.stack([framed[..., :-2, 1:-1], framed[..., 2:, 1:-1], framed[..., 1:-1, :-2], framed[..., 1:-1, 2:]])


def _beyond(image: Tensor, mixture: Mixture) -> Tensor:
    """How far pixels lie outside of the valid range."""
    return (mixture.darkest - image).clamp_min(0) + (image - mixture.brightest).clamp_min(0)


def _cost(image: Tensor, mixture: Mixture) -> Tensor:
    """Differences between neighbours and what lies outside, a mean over the pixels of each image (P,)."""
    differences = (_neighbours(image) - image).abs().sum(0) / 2
    return (differences + OUTSIDE * _beyond(image, mixture)).flatten(1).mean(dim=1)


def _classifier_bias(leak: "Leak", victim: "Victim") -> str:
    """The name of the classifier's bias; UnansweredError where there is none."""
    try:
        weight = find_classifier(victim.module, torch.zeros(leak.shape, device=victim.device))
    except NoClassifierError as error:
        raise UnansweredError(str(error)) from error
    bias = weight.removesuffix("weight") + "bias"
    if bias not in leak.gradients:
        raise UnansweredError("the classifier has no bias, whose gradient would tell the share of the image")
    return bias
