"""What stands for the images while they are sought: pixels, a pyramid of them, or the code of a granted decoder."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gradinv.attacks.gradient_matching.variables import valid_range
from gradinv.attacks.leak import Leak, decoded, encoded
from gradinv.metrics.registry import InvalidEntryError


class Parametrisation:
    """Variables in the place of images. A subclass fills in all three methods.

    Whatever `images` needs is among the variables, since it sees nothing else; what is detached there is never moved.
    """

    needs_autoencoder = False

    def start(self, images: Tensor, leak: Leak, generator: torch.Generator) -> list[Tensor]:
        """The variables of one candidate that begins near `images` (B, C, H, W), normalised, on the CPU."""
        raise TypeError(f"{type(self).__name__} has no start method")

    def images(self, variables: Sequence[Tensor]) -> Tensor:
        """The images (N, B, C, H, W) of N candidates; variables beside these, which come last, are not looked at."""
        raise TypeError(f"{type(self).__name__} has no images method")

    def project(self, variables: Sequence[Tensor], leak: Leak) -> None:
        """Bring the variables of N candidates back, in place, to where they may be."""
        raise TypeError(f"{type(self).__name__} has no project method")


class Pixels(Parametrisation):
    """The images themselves, with `box` inside the valid pixel range."""

    def __init__(self, box: bool = True) -> None:
        self.box = box

    def start(self, images: Tensor, leak: Leak, generator: torch.Generator) -> list[Tensor]:
        """The images, inside the box."""
        return [images.clamp(*valid_range(leak.mean, leak.std, images.dtype, images.device)) if self.box else images]

    def images(self, variables: Sequence[Tensor]) -> Tensor:
        """The first variable."""
        return variables[0]

    def project(self, variables: Sequence[Tensor], leak: Leak) -> None:
        """Clamps them where there is a box."""
        if self.box:
            images = variables[0]
            torch.clamp(images, *valid_range(leak.mean, leak.std, images.dtype, images.device), out=images)


class Pyramid(Parametrisation):
    """So many `levels`, each of half the sides of the one before, enlarged and added up inside a sigmoid.

    The sigmoid's ends are those of the valid pixel range, so that nothing ever leaves it.
    """

    def __init__(self, levels: int) -> None:
        self.levels = levels

    def start(self, images: Tensor, leak: Leak, generator: torch.Generator) -> list[Tensor]:
        """The levels, of which `images` are the finest, then the darkest and the brightest image (C, H, W)."""
        ends = valid_range(leak.mean, leak.std, images.dtype, images.device)
        fixed = [end[0].expand(leak.image_shape).contiguous() for end in ends]
        return [*pyramid_start(images, self.levels, generator), *fixed]

    def images(self, variables: Sequence[Tensor]) -> Tensor:
        """What the levels add up to."""
        *levels, darkest, brightest = variables[: self.levels + 2]
        pyramids = zip(zip(*levels, strict=True), darkest, brightest, strict=True)
        return torch.stack([pyramid_images(*pyramid) for pyramid in pyramids])

    def project(self, variables: Sequence[Tensor], leak: Leak) -> None:
        """Levels may be anywhere."""


DECODER = tuple(f"layer{place}.{part}" for place in (3, 4, 5) for part in ("weight", "bias"))
"""The tensors of an autoencoder that make images of a code."""


class Decoded(Parametrisation):
    """The code of the autoencoder that public images have trained: images are what its decoder makes of it.

    Where it ends up is as near to photographs as the decoder's range is; pixels may stray a little from [0, 1].
    """

    needs_autoencoder = True

    def start(self, images: Tensor, leak: Leak, generator: torch.Generator) -> list[Tensor]:
        """The code of `images`, the decoder's tensors, then mean and std of an image, (C, H, W) each."""
        if leak.autoencoder is None:
            raise ValueError("a decoder trained on public images needs an autoencoder, and the leak has none")
        taught = {name: value.to(images) for name, value in leak.autoencoder.items()}
        scale = [torch.tensor(values).to(images).view(-1, 1, 1) for values in (leak.mean, leak.std)]
        mean, std = (value.expand(leak.image_shape).contiguous() for value in scale)
        return [encoded(taught, images * std + mean), *(taught[name] for name in DECODER), mean, std]

    def images(self, variables: Sequence[Tensor]) -> Tensor:
        """What the decoder makes of each candidate's code."""
        codes, *fixed = variables[: len(DECODER) + 3]
        return torch.stack([_decoded(*parts) for parts in zip(codes, *fixed, strict=True)])

    def project(self, variables: Sequence[Tensor], leak: Leak) -> None:
        """A code may be anywhere."""


def _decoded(code: Tensor, *fixed: Tensor) -> Tensor:
    """The normalised images (B, C, H, W) of a code (B, c, h, w)."""
    *tensors, mean, std = (value.detach() for value in fixed)
    decoder = dict(zip(DECODER, tensors, strict=True))
    return (decoded(decoder, code, mean.shape[1:]) - mean) / std


def parametrisation_of(levels: int, decoder: bool, box: bool) -> Parametrisation:
    """The parametrisation that hyperparameters ask for; InvalidEntryError where they ask for two.

    >>> type(parametrisation_of(levels=4, decoder=False, box=True)).__name__
    'Pyramid'
    """
    if decoder and levels > 1:
        raise InvalidEntryError(f"levels={levels} and decoder=true both stand for the images; take one of them")
    return Decoded() if decoder else Pyramid(levels) if levels > 1 else Pixels(box)


def pyramid_start(images: Tensor, levels: int, generator: torch.Generator) -> list[Tensor]:
    """The levels of a pyramid, finest first: (B, C, H, W), then standard normal ones of half the sides, and so on.

    The finest is `images`; all are divided by the number of levels, so that their sum is no larger than one alone.

    >>> [tuple(level.shape[2:]) for level in pyramid_start(torch.zeros(1, 3, 9, 14), 3, torch.Generator())]
    [(9, 14), (5, 7), (3, 4)]
    """
    batch, channels, height, width = images.shape
    coarser = [(batch, channels, -(-height // 2**level), -(-width // 2**level)) for level in range(1, levels)]
    drawn = [torch.randn(shape, generator=generator, dtype=images.dtype) for shape in coarser]
    return [level / levels for level in (images, *drawn)]


def pyramid_images(levels: Sequence[Tensor], darkest: Tensor, brightest: Tensor) -> Tensor:
    """Images (B, C, H, W) whose place between darkest and brightest, (C, H, W) each, is the sigmoid of all levels' sum.

    Coarser levels are enlarged bilinearly. The ends get no gradient, so that they are never moved.
    """
    finest, *coarser = levels
    size = finest.shape[-2:]
    logits = finest + sum(interpolate(level, size=size, mode="bilinear") for level in coarser)
    return darkest.detach() + (brightest - darkest).detach() * logits.sigmoid()
