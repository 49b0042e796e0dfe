"""The decoder: every mode and format equals its 8-bit RGB twin and says what was done, or is refused."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from gradinv.benchmark.datasets import DataError
from gradinv.benchmark.datasets.decoding import changes_of, decode, read_image, stored_size

GREY = "grey, read as three equal channels"
DEEP = "16 bits a channel, of which the upper 8 are read"
FLOATS = "floats, rounded to 8 bits"
TURNED = "turned upright, as its EXIF says"
FRAMES = "several frames, of which the first is read"

COLOURS = np.random.RandomState(0).randint(0, 256, (6, 9, 3)).astype(np.uint8)
GREYS = COLOURS[..., 0]
RGB = Image.fromarray(COLOURS)
L = Image.fromarray(GREYS)
FEW = RGB.quantize(16)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(array: np.ndarray, colour_type: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write: type 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA."""
    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep(array: np.ndarray) -> np.ndarray:
    """8-bit levels as the same levels of 16 bits."""
    return array.astype(np.uint16) * 257


def opaque(array: np.ndarray) -> np.ndarray:
    return np.dstack([array, np.full(array.shape[:2], np.iinfo(array.dtype).max, array.dtype)])


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def stored(orientation: int) -> Image.Image:
    """The image as a camera stores it that was held so, by the table of the EXIF standard."""
    transposition = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    return RGB.transpose(Image.Transpose(transposition))


def three(array: np.ndarray) -> np.ndarray:
    return np.dstack([array] * 3)


def save(image: Image.Image, **options):
    return lambda path: image.save(path, **options)


def save_tiff(array: np.ndarray, **options):
    return lambda path: tifffile.imwrite(path, array, **options)


TWINS = {
    "8-bit RGB.png": (save(RGB), COLOURS, []),
    "8-bit RGB.bmp": (save(RGB), COLOURS, []),
    "8-bit RGB.ppm": (save(RGB), COLOURS, []),
    "8-bit RGB.tif": (save(RGB), COLOURS, []),
    "8-bit RGB.webp": (save(RGB, lossless=True), COLOURS, []),
    "PNG by another name.jpg": (save(RGB, format="PNG"), COLOURS, []),
    "capitals.PNG": (save(RGB), COLOURS, []),
    "palette.png": (save(FEW), np.asarray(FEW.convert("RGB")), []),
    "palette.bmp": (save(FEW), np.asarray(FEW.convert("RGB")), []),
    "opaque palette.png": (save(FEW, transparency=200), np.asarray(FEW.convert("RGB")), []),
    "opaque.png": (save(RGB.convert("RGBA")), COLOURS, []),
    "opaque.webp": (save(RGB.convert("RGBA"), lossless=True), COLOURS, []),
    "opaque.tiff": (save(RGB.convert("RGBA")), COLOURS, []),
    "opaque grey.png": (save(L.convert("LA")), three(GREYS), [GREY]),
    "grey.png": (save(L), three(GREYS), [GREY]),
    "grey.pgm": (save(L), three(GREYS), [GREY]),
    "grey.tif": (save(L), three(GREYS), [GREY]),
    "black and white.png": (save(L.point(lambda v: v > 99, "1")), three(255 * (GREYS > 99)), [GREY]),
    "16-bit grey.png": (save(Image.fromarray(deep(GREYS))), three(GREYS), [GREY, DEEP]),
    "16-bit grey.pgm": (
        lambda path: path.write_bytes(b"P5 9 6 65535\n" + deep(GREYS).astype(">u2").tobytes()),
        three(GREYS), [GREY, DEEP],
    ),
    "16-bit grey.tif": (save_tiff(deep(GREYS)), three(GREYS), [GREY, DEEP]),
    "16-bit grey big-endian.tif": (save_tiff(deep(GREYS), byteorder=">"), three(GREYS), [GREY, DEEP]),
    "16-bit grey alpha.png": (lambda path: path.write_bytes(png(opaque(deep(GREYS)), 4)), three(GREYS), [GREY, DEEP]),
    "16-bit RGB.png": (lambda path: path.write_bytes(png(deep(COLOURS), 2)), COLOURS, [DEEP]),
    "16-bit RGBA.png": (lambda path: path.write_bytes(png(opaque(deep(COLOURS)), 6)), COLOURS, [DEEP]),
    "16-bit RGB.tif": (save_tiff(deep(COLOURS), photometric="rgb"), COLOURS, [DEEP]),
    "16-bit RGB compressed.tif": (
        save_tiff(deep(COLOURS), photometric="rgb", compression="zlib"), COLOURS, [DEEP],
    ),
    "16-bit RGB.ppm": (
        lambda path: path.write_bytes(b"P6 9 6 65535\n" + deep(COLOURS).astype(">u2").tobytes()), COLOURS, [DEEP],
    ),
    "float.tif": (save(Image.fromarray((GREYS / 255).astype(np.float32))), three(GREYS), [GREY, FLOATS]),
    "CMYK.tif": (save(RGB.convert("CMYK")), COLOURS, ["CMYK, converted to RGB"]),
    "frames.png": (save(RGB, save_all=True, append_images=[RGB.rotate(180)]), COLOURS, [FRAMES]),
    "frames.tif": (save(RGB, save_all=True, append_images=[RGB.rotate(180)]), COLOURS, [FRAMES]),
    **{f"EXIF {n}.png": (save(stored(n), exif=turned(n)), COLOURS, [TURNED]) for n in range(2, 9)},
    **{f"EXIF {n}.tif": (save(stored(n), exif=turned(n)), COLOURS, [TURNED]) for n in (3, 6, 8)},
    "EXIF 6.webp": (save(stored(6), exif=turned(6), lossless=True), COLOURS, [TURNED]),
    "EXIF 1.png": (save(RGB, exif=turned(1)), COLOURS, []),
    "EXIF 99.png": (save(RGB, exif=turned(99)), COLOURS, []),
    "EXIF of a 16-bit grey.png": (
        save(Image.fromarray(deep(GREYS)).transpose(Image.Transpose.ROTATE_180), exif=turned(3)),
        three(GREYS), [GREY, DEEP, TURNED],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TWINS)
def test_every_mode_and_format_equals_its_8_bit_rgb_twin(tmp_path, name: str) -> None:
    write, twin, words = TWINS[name]
    path = tmp_path / name
    write(path)
    image = read_image(path)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), twin)
    assert stored_size(path) == image.size
    # 9 x 6 pixels: what is left is that the centre is cut out.
    changes = changes_of(path, 6, "x/y")
    assert [change.words for change in changes] == [*words, "centre cut out of"]
    assert (changes[-1].size, changes[-1].file) == ((9, 6), "x/y")
    square = np.asarray(Image.fromarray(twin.astype(np.uint8)).crop((1, 0, 7, 6)))
    np.testing.assert_array_equal(decode(path, 6), square)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_is_what_pillow_decodes(tmp_path, mode: str, orientation: int) -> None:
    path = tmp_path / "photo.jpg"
    smooth = Image.fromarray(np.add.outer(np.arange(16), np.arange(24)).astype(np.uint8) * 5).convert(mode)
    smooth.save(path, exif=turned(orientation))
    decoded = Image.open(path).convert("RGB")
    expected = {1: decoded, 3: decoded.transpose(Image.Transpose.ROTATE_180), 6: decoded.rotate(-90, expand=True)}
    np.testing.assert_array_equal(np.asarray(read_image(path)), np.asarray(expected[orientation]))
    words = {"RGB": [], "L": [GREY], "CMYK": ["CMYK, converted to RGB"]}[mode] + [TURNED] * (orientation > 1)
    assert [change.words for change in changes_of(path, 16, "")][:-1] == words


def test_an_image_of_the_asked_size_is_not_touched(tmp_path) -> None:
    Image.fromarray(COLOURS[:, :6]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 6), COLOURS[:, :6])
    assert changes_of(tmp_path / "a.png", 6, "") == []
    assert [change.words for change in changes_of(tmp_path / "a.png", 3, "")] == ["scaled to a short side of 3 from"]


REFUSED = {
    "alpha.png": (save(Image.fromarray(np.dstack([COLOURS, GREYS]))), "has transparent pixels"),
    "alpha.webp": (save(Image.fromarray(np.dstack([COLOURS, GREYS])), lossless=True), "has transparent pixels"),
    "grey alpha.png": (save(Image.fromarray(np.dstack([GREYS, GREYS]))), "has transparent pixels"),
    "palette.png": (save(FEW, transparency=int(np.asarray(FEW)[0, 0])), "has transparent pixels"),
    "colour key.png": (save(RGB, transparency=tuple(COLOURS[0, 0].tolist())), "has transparent pixels"),
    "floats of 8 bits.tif": (save(Image.fromarray(GREYS.astype(np.float32))), "holds floats from .* scale them"),
    "negative.tif": (save(Image.fromarray(np.float32([[-0.1, 1]]))), "holds floats from -0.1 to 1"),
    "NaN.tif": (save(Image.fromarray(np.float32([[0, np.nan]]))), "holds floats from nan to nan"),
    "32 bits.tif": (save(Image.fromarray(GREYS.astype(np.int32))), "is of mode I"),
    "LAB.tif": (save_tiff(COLOURS, photometric="cielab"), "is of mode LAB"),
    "float RGB.tif": (save_tiff(np.float32(COLOURS), photometric="rgb"), "cannot be read as an image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_one_meaning_as_pixels_is_refused(tmp_path: Path, name: str) -> None:
    write, message = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        read_image(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)
