"""The size of images: one number of pixels where they are square, `64x80` (height, then width) where they are not."""

import re
from numbers import Integral
from typing import Any

ImageSize = int | str
"""A number for squares, as before there were others: so what is made of it, ids among them, stays what it was."""

_OBLONG = re.compile(r"([1-9]\d*)x([1-9]\d*)", re.ASCII)


def sides(size: Any) -> tuple[int, int]:
    """(height, width) of images of that size, in pixels, which may be a pair already; ValueError for what is none.

    >>> sides(32), sides("64x80"), sides((64, 80))
    ((32, 32), (64, 80), (64, 80))
    """
    if isinstance(size, str) and (match := _OBLONG.fullmatch(size)):
        return int(match[1]), int(match[2])
    if isinstance(size, list | tuple) and len(size) == 2 and all(map(_is_whole, size)):
        return int(size[0]), int(size[1])
    if _is_whole(size):
        return int(size), int(size)
    raise ValueError(f"{size!r} is no number of pixels, and no height and width such as 64x80")


def as_image_size(value: Any) -> ImageSize:
    """The size that a number, `64x80` or a pair (height, width) stands for; ValueError for anything else.

    >>> as_image_size(32), as_image_size([64, 80]), as_image_size("64x80"), as_image_size((16, 16))
    (32, '64x80', '64x80', 16)
    """
    height, width = sides(value)
    return height if height == width else f"{height}x{width}"


def _is_whole(value: Any) -> bool:
    # A boolean is a number to Python.
    return isinstance(value, Integral) and not isinstance(value, bool)
