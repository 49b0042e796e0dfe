"""What was done to images that were not what a split hands out, in words for people."""

from collections.abc import Sequence
from typing import NamedTuple

from gradinv.metrics.image_size import ImageSize, sides

SHOWN = 5  # names in a line


class Change(NamedTuple):
    """One thing done to one image.

    `words` say what, `size` is the (width, height) that the words end with, `file` the image's path in its split.
    """

    words: str
    size: tuple[int, int] | None = None
    file: str = ""


def scaled_size(size: tuple[int, int], target: ImageSize) -> tuple[int, int]:
    """(width, height) of the smallest image of that shape which covers the target.

    >>> scaled_size((64, 80), 32), scaled_size((64, 80), "40x16")
    ((32, 40), (32, 40))
    """
    height, width = sides(target)
    scale = max(width / size[0], height / size[1])
    return round(size[0] * scale), round(size[1] * scale)


def fitting(size: tuple[int, int], target: ImageSize, file: str = "") -> list[Change]:
    """What makes an image of (width, height) one of the target's size.

    >>> [change.words for change in fitting((64, 80), 64)], [change.words for change in fitting((80, 64), "32x40")]
    (['centre cut out of'], ['scaled to 40 x 32 from'])
    """
    scaled = scaled_size(size, target)
    height, width = sides(target)
    changes = []
    if scaled != size:
        to = f"a short side of {target}" if width == height else f"{scaled[0]} x {scaled[1]}"
        changes.append(Change(f"scaled to {to} from", size, file))
    if scaled != (width, height):
        changes.append(Change("centre cut out of", size, file))
    return changes


def in_words(changes: Sequence[Sequence[Change]]) -> list[str]:
    """A line for each kind of change, given the changes of every image of a split.

    >>> in_words([[Change("centre cut out of", (64, 80), "ant/0.png")], []])
    ['1 of 2 images: centre cut out of 64 x 80, first ant/0.png']
    """
    kinds: dict[str, list[Change]] = {}
    for change in (change for of_image in changes for change in of_image):
        kinds.setdefault(change.words, []).append(change)
    return [_line(words, alike, len(changes)) for words, alike in kinds.items()]


def _line(words: str, alike: Sequence[Change], images: int) -> str:
    sizes = list(dict.fromkeys(change.size for change in alike if change.size))
    line = f"{len(alike)} of {images} images: {words}"
    if sizes:
        line += f" {sizes[0][0]} x {sizes[0][1]}"
    if len(sizes) > 1:
        line += f" and {len(sizes) - 1} other size{'s' * (len(sizes) > 2)}"
    # Where all are alike, the first is no news.
    return line + (f", first {alike[0].file}" if alike[0].file and len(alike) < images else "")


def listed(names: Sequence[str]) -> str:
    """The first names, and how many there are more.

    >>> listed(["a", "b", "c", "d", "e", "f"])
    'a, b, c, d, e and 1 more'
    """
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
