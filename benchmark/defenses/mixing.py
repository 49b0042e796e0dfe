"""Mixed images: mixup, and InstaHide within the client's own batch or with images that anybody has."""

from functools import lru_cache
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from gradinv.attacks.registry import Paper
from gradinv.benchmark.datasets import create_dataset, public_images
from gradinv.benchmark.defenses.base import Defense, UndefendableError, register_defense
from gradinv.benchmark.victims import normalise
from gradinv.metrics.registry import InvalidEntryError

ZHANG_2018 = Paper(
    title="mixup: Beyond Empirical Risk Minimization",
    authors="Hongyi Zhang, Moustapha Cisse, Yann N. Dauphin, David Lopez-Paz",
    venue="ICLR 2018",
    year=2018,
    url="https://arxiv.org/abs/1710.09412",
)
HUANG_2020 = Paper(
    title="InstaHide: Instance-hiding Schemes for Private Distributed Learning",
    authors="Yangsibo Huang, Zhao Song, Kai Li, Sanjeev Arora",
    venue="ICML 2020",
    year=2020,
    url="https://arxiv.org/abs/2010.02772",
)
_LEAST_DRAWN = 0.1
"""Concentration from which on gamma variables are drawn as they are: smaller ones underflow single precision."""
_SIGNS = (
    "the update determines what the network saw, and the signs of its pixels are no part of the images: one update "
    "leaves magnitudes of mixtures, and even exact ones hardly tell which image it was (docs/defenses.md); the "
    "decoding of Carlini et al. (2021) takes many encodings of each image"
)


@register_defense("mixup", paper=ZHANG_2018)
class Mixup(Defense):
    """Train on l x + (1 - l) x' and its mixed labels, x' another image of the batch (Zhang et al. 2018, section 2).

    One l ~ Beta(`alpha`, `alpha`) a batch; `alpha` 0 is l = 1 and changes no bit. A batch of one has nothing to mix.
    """

    randomises = True
    knowable = "alpha, and from the labels that were mixed alike the draw of l; not who was mixed with whom"
    cost = "blurred examples, of which many networks learn no worse"
    grid = ("mixup[alpha=0.2]", "mixup[alpha=1.0]", "mixup[alpha=8.0]")
    neutral = "mixup[alpha=0]"

    def __init__(self, *, alpha: Annotated[float, Field(ge=0)] = 1.0) -> None:
        self.alpha = alpha

    def on_batch(self, images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The mixed batch, its labels as probabilities."""
        if self.alpha == 0:
            return images, labels
        _require(len(images), 2, "mixup")
        # A ring in random order: nobody is mixed with itself.
        order = torch.randperm(len(images), generator=generator)
        partners = torch.empty_like(order).index_copy(0, order, order.roll(1)).to(images.device)
        shares = _dirichlet(torch.full((2,), self.alpha), generator).to(images)
        places = torch.stack([torch.arange(len(images), device=images.device), partners], dim=1)
        return _mixed(images, places, shares.expand(len(images), 2)), _mixed_labels(labels, places, shares)

    def known(self) -> str:
        """The share is found with the images; at a share of one half there is nothing to find them by."""
        return "mixed[share=batch]" if self.alpha else ""


class _InstaHide(Defense):
    """Each image is mixed with k - 1 others, `private` of all k from the batch and the rest public; signs are flipped.

    What is public has no label, so that the labels of an image sum to what the private ones have of it.
    """

    randomises = True
    k: int
    private: int
    least: float
    largest: float
    flip: bool

    def on_batch(self, images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """The hidden batch; its labels are the shares of the private images."""
        _require(len(images), self.private, repr(self))
        if self.k > 1:
            count, public = len(images), self.public_like(images)
            places = torch.stack([_others(index, count, self.private, generator) for index in range(count)])
            if self.k > self.private:
                # Behind the batch in what is mixed; of one image no public one is taken twice.
                drawn = [torch.randperm(len(public), generator=generator) for _ in range(count)]
                places = torch.cat([places, count + torch.stack(drawn)[:, : self.k - self.private]], dim=1)
            shares = torch.stack([self._shares(generator) for _ in range(count)]).to(images)
            places = places.to(images.device)
            labels = _mixed_labels(labels, places[:, : self.private], shares[:, : self.private])
            images = _mixed(torch.cat([images, public]), places, shares)
        if self.flip:
            signs = 1 - 2 * torch.randint(2, images.shape, generator=generator)
            images = images * signs.to(images)
        return images, labels

    def _shares(self, generator: Generator) -> Tensor:
        # Drawn again until all is within bounds: uniform among what is left, which takes a few draws.
        while True:
            shares = _dirichlet(torch.ones(self.k), generator)
            if shares.max() <= self.largest and shares[: self.private].sum() >= self.least:
                return shares


@register_defense("intra_instahide", paper=HUANG_2020)
class IntraInstaHide(_InstaHide):
    """Mix every image with k - 1 others of the batch and flip the sign of random pixels (Huang et al. 2020, section 4).

    The shares are drawn uniformly from those that sum to 1, each below `largest`; each (normalised) pixel's sign is
    flipped with probability 1/2 where `flip` says so. `k` 1 without flips changes no bit. With images that anybody has
    it is `instahide`.
    """

    least = 0.0
    knowable = "k and the bound of the shares; never the shares, the partners or the flips"
    unanswered = _SIGNS
    cost = "examples that are mixtures with scrambled signs; several points of accuracy"
    grid = ("intra_instahide[k=2]", "intra_instahide[k=3]", "intra_instahide[k=4]")
    neutral = "intra_instahide[flip=false,k=1]"

    def __init__(
        self,
        *,
        k: Annotated[int, Field(ge=1)] = 4,
        largest: Annotated[float, Field(gt=0.5, le=1)] = 0.65,
        flip: bool = True,
    ) -> None:
        self.k, self.private, self.largest, self.flip = k, k, largest, flip

    def known(self) -> str:
        """Without flips the shares are sought with the images; measured, that gains nothing (docs/defenses.md)."""
        return "mixed" if self.k > 1 and not self.flip else ""


@register_defense("instahide", paper=HUANG_2020)
class InstaHide(_InstaHide):
    """Mix every image with others of the batch, up to `private` in all, and k - `private` public ones; flip signs.

    Cross-dataset InstaHide (Huang et al. 2020, section 4). Public are up to 256 tuning images of the data set `public`,
    normalised by its own mean and deviation: nobody trains on them, and none is attacked unless a suite is run on
    tuning images, which is then refused. They have no label. Shares are drawn uniformly from those that sum to 1, each
    below `largest`, those of the private images together at least `least`; the paper's bounds. Flips as in
    `intra_instahide`. `k` 1 without flips changes no bit.
    """

    knowable = "k, the bounds of the shares and all public images; never the shares, the partners or the flips"
    unanswered = f"{_SIGNS}; with `k=2,private=1` the public image is found, and so the private one"
    cost = "examples that are mostly others' pictures with scrambled signs"
    grid = ("instahide[k=2,private=1]", "instahide[k=4]", "instahide[k=6]")
    neutral = "instahide[flip=false,k=1,private=1]"

    def __init__(
        self,
        *,
        k: Annotated[int, Field(ge=1)] = 4,
        private: Annotated[int, Field(ge=1)] = 2,
        public: str = "photos",
        least: Annotated[float, Field(ge=0, le=0.5)] = 0.3,
        largest: Annotated[float, Field(gt=0.5, le=1)] = 0.65,
        flip: bool = True,
    ) -> None:
        if private > k:
            raise InvalidEntryError(f"instahide: private={private} of k={k} images are too many; lower private")
        self.k, self.private, self.public, self.least, self.largest, self.flip = (
            k,
            private,
            public,
            least,
            largest,
            flip,
        )

    def known(self) -> str:
        """Which public image it was, where it is one and the private one is alone; of more too many are possible."""
        if (self.k, self.private) != (2, 1):
            return ""
        flip = "" if self.flip else "flip=false,"
        return f"unhidden[{flip}largest={self.largest},least={max(self.least, 1 - self.largest)}]"

    @property
    def public_datasets(self) -> tuple[str, ...]:
        """The data set of the public images, where there are any in a mixture."""
        return (self.public,) if self.k > self.private else ()

    def public_like(self, images: Tensor) -> Tensor:
        """The public images, of the batch's size, type and device; UndefendableError where they do not fit."""
        if self.k == self.private:
            return images[:0]
        _, channels, height, width = images.shape
        public = _public(self.public, height, width)
        if public.shape[1] != channels:
            raise UndefendableError(
                f"{self.public} has images of {public.shape[1]} channels, and the batch of {channels}"
            )
        if len(public) < self.k - self.private:
            raise UndefendableError(f"{self.public} has {len(public)} public images, and {self!r} mixes more in")
        return public.to(images)


@lru_cache(maxsize=4)
def _public(name: str, height: int, width: int) -> Tensor:
    """The public images of a data set at one size, normalised by its own numbers."""
    dataset = create_dataset(name, (height, width))
    return normalise(public_images(dataset), dataset.mean, dataset.std)


def _require(batch_size: int, needed: int, name: str) -> None:
    if batch_size < needed:
        raise UndefendableError(f"{name} mixes {needed} images, and the batch has {batch_size}")


def _dirichlet(concentration: Tensor, generator: Generator) -> Tensor:
    """Shares (k,) that sum to 1; of two, a Beta variable and the rest."""
    # Gamma variables over their sum have Dirichlet's distribution; torch's own class of it takes no generator.
    if float(concentration.min()) >= _LEAST_DRAWN:
        drawn = torch._standard_gamma(concentration, generator=generator)
        return drawn / drawn.sum()
    # In logarithms, G(a) = G(a + 1) U^(1 / a): torch draws the least number of its type for all that is smaller, and
    # two of these would be equal shares where the distribution has hardly any.
    larger = torch._standard_gamma(concentration + 1, generator=generator)
    uniform = torch.rand(concentration.shape, generator=generator)
    return (larger.log() + uniform.log() / concentration).softmax(dim=0)


def _others(index: int, count: int, k: int, generator: Generator) -> Tensor:
    """The image's own place and k - 1 others, none twice."""
    drawn = torch.randperm(count - 1, generator=generator)[: k - 1]
    # Places from the image's own on move up by one, which leaves that one out.
    return torch.cat([torch.tensor([index]), drawn + (drawn >= index)])


def _mixed(images: Tensor, places: Tensor, shares: Tensor) -> Tensor:
    """Image i is the sum over j of shares[i, j] images[places[i, j]]."""
    return torch.einsum("bk,bkchw->bchw", shares, images[places])


def _mixed_labels(labels: Tensor, places: Tensor, shares: Tensor) -> Tensor:
    """The labels' probabilities, mixed alike; no wider than the largest label asks for."""
    known = labels if labels.is_floating_point() else torch.nn.functional.one_hot(labels).to(shares)
    return torch.einsum("bk,bkl->bl", shares.expand(places.shape), known[places])
