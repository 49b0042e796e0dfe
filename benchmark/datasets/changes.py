"""What was done to images that were not what a split hands out, in words for people."""

from collections.abc import Sequence
from typing import NamedTuple

SHOWN = 5  # names in a line


class Change(NamedTuple):
    """One thing done to one image.

    `words` say what, `size` is the (width, height) that the words end with, `file` the image's path in its split.
    """

    words: str
    size: tuple[int, int] | None = None
    file: str = ""


def scaled_size(size: tuple[int, int], target: int) -> tuple[int, int]:
    """(width, height) whose short side is `target`.

    >>> scaled_size((64, 80), 32)
    (32, 40)
    """
    scale = target / min(size)
    return round(size[0] * scale), round(size[1] * scale)


def squaring(size: tuple[int, int], target: int, file: str = "") -> list[Change]:
    """What makes an image of (width, height) a square of `target` pixels.

    >>> [change.words for change in squaring((64, 80), 64)]
    ['centre cut out of']
    """
    width, height = scaled_size(size, target)
    changes = []
    if (width, height) != size:
        changes.append(Change(f"scaled to a short side of {target} from", size, file))
    if width != height:
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
