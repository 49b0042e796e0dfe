"""Photos: patches of the colour photographs that scikit-image ships in its wheel; the default, needs no download.

A demonstration set: eight classes, one per photograph, so that everything can be tried on natural pixels anywhere. No
published claim rests on it. The patches are the same bits for one version of scikit-image (the files) and of Pillow
(JPEG decoding, resizing); the content hash tells when they are not.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import skimage
from PIL import Image

from gradinv.benchmark.datasets.base import ArraySplit, Dataset, Role
from gradinv.benchmark.datasets.decoding import read_image
from gradinv.benchmark.datasets.registry import DataError, register_dataset
from gradinv.benchmark.datasets.seeds import random_state
from gradinv.metrics.image_size import ImageSize, sides

PHOTOGRAPHS = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "ihc": "ihc.png",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}
DEFAULT_SIZE = 32
LARGEST_SIZE = 512  # larger patches show a few enlarged pixels, and cutting them takes minutes
SIDE_IN_PATCHES = 6  # the short side of a scaled photograph: a patch then shows about a thirty-sixth of it
BANDS: dict[Role, tuple[float, float]] = {"train": (0.0, 0.4), "evaluation": (0.4, 0.75), "tuning": (0.75, 1.0)}
PATCHES: dict[Role, int] = {"train": 250, "tuning": 64, "evaluation": 64}  # a class
LEAST_DEVIATION = 0.035  # of a patch's pixels in [0, 1], averaged over channels; flatter patches are rejected
MOST_OVERLAP = 0.25  # of a patch's area, between two images of one batch
ATTEMPTS = 20_000


class Cut(NamedTuple):
    """Where a patch was cut: index of the photograph, top and left in scaled pixels."""

    photograph: int
    top: int
    left: int


class PatchSplit(ArraySplit):
    """Patches that know where they were cut."""

    def __init__(self, array: np.ndarray, labels: np.ndarray, cuts: Sequence[Cut]) -> None:
        super().__init__(array, labels)
        self.cuts = list(cuts)

    def overlaps(self, first: int, second: int) -> bool:
        """Whether two patches share more than `MOST_OVERLAP` of their area."""
        cut, second_cut = self.cuts[first], self.cuts[second]
        whole_height, whole_width = self.array.shape[1:3]
        height = whole_height - abs(cut.top - second_cut.top)
        width = whole_width - abs(cut.left - second_cut.left)
        if cut.photograph != second_cut.photograph or min(height, width) <= 0:
            return False
        return height * width > MOST_OVERLAP * whole_height * whole_width


@register_dataset("photos", lies_elsewhere=True)
def photos(image_size: ImageSize | None = None, *, download: bool = False) -> Dataset:
    """Patches of eight photographs, 32 x 32 by default; nothing is ever downloaded.

    Train, tuning and evaluation patches come from vertical bands of the photographs that share no pixel. Raises
    DataError where scikit-image was installed without its pictures, and for sizes below about 12, at which the sky of
    a photograph gives too few patches that are not flat, and above 512.
    """
    size = image_size or DEFAULT_SIZE
    if max(sides(size)) > LARGEST_SIZE:
        raise DataError(
            f"photos: patches have {LARGEST_SIZE} pixels a side at most, not {size}; take images of your own"
        )
    loaders = {role: partial(cut_patches, role, size) for role in BANDS}
    return Dataset("photos", list(PHOTOGRAPHS), size, loaders)


def cut_patches(role: Role, size: ImageSize) -> PatchSplit:
    """The patches of one role from all photographs, class by class; train patches are mirrored half of the time."""
    height, width = sides(size)
    arrays, cuts = [], []
    for index, name in enumerate(PHOTOGRAPHS):
        region = band(name, role, size)
        for top, left, mirrored in crops(region, size, PATCHES[role], name, role):
            patch = region[top : top + height, left : left + width]
            arrays.append(patch[:, ::-1] if mirrored else patch)
            cuts.append(Cut(index, top, left))
    labels = np.array([cut.photograph for cut in cuts])
    return PatchSplit(np.stack(arrays), labels, cuts)


def band(name: str, role: Role, size: ImageSize) -> np.ndarray:
    """The role's vertical band of a photograph, uint8 (height, width, 3), scaled so that patches are not flat.

    The band is cut before it is scaled: resampling at the cut would else mix pixels of two roles.
    """
    path = Path(skimage.__file__).parent / "data" / PHOTOGRAPHS[name]
    if not path.is_file():
        raise DataError(f"photos: {path} is missing; reinstall scikit-image from its wheel")
    photograph = read_image(path)
    width, height = photograph.size
    start, end = BANDS[role]
    strip = photograph.crop((round(width * start), 0, round(width * end), height))
    patch_height, patch_width = sides(size)
    scale = SIDE_IN_PATCHES * max(patch_height, patch_width) / min(width, height)
    scaled = (max(patch_width, round(strip.width * scale)), max(patch_height, round(strip.height * scale)))
    return np.asarray(strip.resize(scaled, Image.Resampling.BICUBIC))


def crops(region: np.ndarray, size: ImageSize, count: int, name: str, role: Role) -> list[tuple[int, int, bool]]:
    """`count` seeded crops (top, left, mirrored) of a region whose patches are not flat, all different."""
    random = random_state("photos", name, role, size)
    patch_height, patch_width = sides(size)
    height, width = region.shape[0] - patch_height + 1, region.shape[1] - patch_width + 1
    chosen: dict[tuple[int, int, bool], None] = {}  # a set that keeps the order of drawing
    # All attempts are drawn at once, so that asking for more patches leaves the first ones as they are.
    for top, left, side in zip(*(random.randint(0, n, ATTEMPTS) for n in (height, width, 2)), strict=True):
        crop = (int(top), int(left), bool(side) and role == "train")
        if (
            crop not in chosen
            and deviation(region[top : top + patch_height, left : left + patch_width]) >= LEAST_DEVIATION
        ):
            chosen[crop] = None
        if len(chosen) == count:
            return list(chosen)
    raise DataError(f"photos: {name} has not {count} patches of {size} pixels that are not flat; take a larger image")


def deviation(patch: np.ndarray) -> float:
    """Standard deviation of the pixels in [0, 1], averaged over the channels."""
    return float((patch / 255).std(axis=(0, 1)).mean())
