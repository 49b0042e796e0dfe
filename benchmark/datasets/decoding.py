"""The one decoder of image files: 8-bit RGB as stored, anything else made that and said, or refused.

Formats are those of torchvision's image folders, recognised by content: a JPEG named `.png` is read as the JPEG it is.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from gradinv.benchmark.datasets.changes import Change, fitting, scaled_size
from gradinv.benchmark.datasets.registry import DataError
from gradinv.metrics.image_size import ImageSize, as_image_size, sides

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
MOST_PIXELS = 89_478_485
"""Of one image, where Pillow begins to warn of decompression bombs: a file of kilobytes can fill the memory."""

GREY = "grey, read as three equal channels"
EIGHT_BIT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}


def decode(path: Path, size: ImageSize) -> np.ndarray:
    """The pixels of an image file, uint8 (H, W, 3), as `fit` makes them; DataError where it cannot be read."""
    return np.asarray(fit(read_image(path), size))


def fit(image: Image.Image, size: ImageSize) -> Image.Image:
    """An RGB image of that size: resized (bicubic, antialiased) until it just covers it, then the centre cut out.

    An image of that size already is left as it is.
    """
    height, width = sides(size)
    if image.size == (width, height):
        return image
    image = image.resize(scaled_size(image.size, size), Image.Resampling.BICUBIC)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def read_image(path: Path) -> Image.Image:
    """The image of a file as 8-bit RGB, upright; DataError where the file is damaged or holds anything but that.

    `changes_of` says what was done. Refused are transparent pixels, floats outside [0, 1], integers of 32 bits, LAB.
    """
    with _opened(path) as image:
        if image.format == "PNG":
            image.verify()  # the checksums, at which decoding does not look; a verified image cannot be decoded
    with _opened(path) as image:
        _refuse_transparency(path, image)
        upright = ImageOps.exif_transpose(image)
        return _eight_bits(path, upright, image.format).convert("RGB")


def own_size(paths: Sequence[Path]) -> ImageSize:
    """The size that all the images have, upright; a square of the first one's short side where they differ."""
    width, height = stored_size(paths[0])
    # The others are opened only where it matters: of a million files that would take minutes.
    if width != height and any(stored_size(path) != (width, height) for path in paths[1:]):
        return min(width, height)
    return as_image_size((height, width))


def stored_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image file, upright, from its header; DataError where it has none."""
    with _opened(path) as image:
        size, turned = image.size, _orientation(image) >= 5
        if turned and image.format == "TIFF":
            image.load()  # Pillow turns these by itself, and says so before or after loading, by its version
            return image.size
    return size[::-1] if turned else size


def changes_of(path: Path, size: ImageSize, file: str) -> list[Change]:
    """What `decode` does to an image file beside decoding it, from its header; `file` is how the changes call it."""
    with _opened(path) as image:
        words = []
        # Pillow makes colour of grey with alpha of 16 bits.
        if image.mode in ("1", "L", "LA") or image.mode[0] in "IF" or "LA;16B" in _decoder_arguments(image):
            words.append(GREY)
        if _has_sixteen_bits(image):
            words.append("16 bits a channel, of which the upper 8 are read")
        if image.mode == "F":
            words.append("floats, rounded to 8 bits")
        if image.mode in ("CMYK", "YCbCr"):
            words.append(f"{image.mode}, converted to RGB")
        if _orientation(image) > 1:
            words.append("turned upright, as its EXIF says")
        if getattr(image, "n_frames", 1) > 1:
            words.append("several frames, of which the first is read")
    return [*(Change(text, file=file) for text in words), *fitting(stored_size(path), size, file)]


def check_is_file(path: Path) -> None:
    """DataError unless the path is a regular file or a link to one: to open a named pipe would wait for ever."""
    if path.is_file():
        return
    kind = "a folder" if path.is_dir() else "no regular file" if path.exists() else "missing, or a broken link"
    raise DataError(f"{path} is {kind} where an image should be; rename or remove it")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file as Pillow opens it; whatever is wrong with the file, here or in the body, is a DataError."""
    check_is_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that nobody reads; what matters is checked
            with Image.open(path, formats=FORMATS) as image:
                _refuse_bomb(path, image)
                yield image
    except DataError:
        raise
    # Pillow's readers raise almost anything at damaged files: OSError, SyntaxError, ValueError, struct.error, ...
    except Exception as error:
        raise DataError(f"{path} cannot be read as an image ({_reason(path, error)}); mend or remove it") from error


def _refuse_bomb(path: Path, image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise DataError(f"{path} has {image.width} x {image.height} pixels; scale it down or remove it")


def _reason(path: Path, error: Exception) -> str:
    if path.stat().st_size == 0:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        return f"it is damaged, or none of {', '.join(FORMATS)}"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """1 to 8, where 1 is upright and from 5 on width and height are exchanged."""
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


def _has_sixteen_bits(image: Image.Image) -> bool:
    """Whether the file holds 16 bits a channel; Pillow's mode does not say that of colour images."""
    if image.format not in ("PNG", "PPM", "TIFF"):
        return False
    if image.mode[0] == "I":
        return True
    arguments = _decoder_arguments(image)
    if image.format == "PPM":  # its decoder is given the largest value
        return any(isinstance(part, int) and part > 255 for part in arguments)
    return any(isinstance(part, str) and ";16" in part for part in arguments)


def _decoder_arguments(image: Image.Image) -> list[object]:
    """What Pillow hands to its decoder, the mode of the stored pixels among it, before the image is loaded."""
    each = [tile[3] if isinstance(tile[3], tuple) else (tile[3],) for tile in getattr(image, "tile", ())]
    return [part for parts in each for part in parts]


def _refuse_transparency(path: Path, image: Image.Image) -> None:
    """DataError where a pixel is not opaque: what colour it is depends on what lies behind it."""
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise DataError(f"{path} has transparent pixels; put it on a background and save it without alpha")


def _eight_bits(path: Path, image: Image.Image, file_format: str | None) -> Image.Image:
    """An image of 8 bits a channel; DataError for modes whose values have no one meaning as pixels."""
    if image.mode in EIGHT_BIT_MODES:
        return image
    # Mode I is any 32-bit integer, but from these two formats a grey level of 16 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode != "F":
        raise DataError(f"{path} is of mode {image.mode}, whose colours are not defined; save it as 8-bit RGB")
    values = np.asarray(image)
    if not (values.min() >= 0 and values.max() <= 1):  # not for NaN either
        raise DataError(f"{path} holds floats from {values.min():g} to {values.max():g}; scale them to [0, 1]")
    return Image.fromarray(np.rint(255 * values).astype(np.uint8))
