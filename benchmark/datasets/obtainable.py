"""Which data sets of the published boards anybody can make: from what, how, and how the files are told from ours."""

from typing import NamedTuple


class Obtainable(NamedTuple):
    """A recipe in words: what to hand over as source, pixels of a side, JPEG quality."""

    source: str
    size: int
    quality: int


OBTAINABLE = {
    "cifar10_jpeg": Obtainable("the folder of torchvision's CIFAR-10 (it holds cifar-10-batches-py)", 32, 75),
    "tinyimagenet32": Obtainable("the folder tiny-imagenet-200 (train/CLASS/images, val/val_annotations.txt)", 32, 75),
    "imagenette128": Obtainable("the folder imagenette2 (train/CLASS, val/CLASS)", 128, 82),
    "imagenet1000": Obtainable("a folder of one photograph a class, CLASS_name.JPEG (imagenet-sample-images)", 224, 88),
}
"""By name; the qualities are those of our files, read from their quantisation tables."""


def hint(name: str) -> str:
    """How to get a data set of that name; empty where there is no recipe.

    >>> hint("cifar10_jpeg")
    '; `gradinv data cifar10_jpeg` says how to make it'
    """
    return f"; `gradinv data {name}` says how to make it" if name in OBTAINABLE else ""
