"""Every way in which an image can be bad, wherever it is met: one line that names the file, and exit status 2."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = 32


def picture(seed: int = 0, size: tuple[int, int] = (SIZE, SIZE)) -> Image.Image:
    return Image.fromarray(np.random.RandomState(seed).randint(0, 256, (*size[::-1], 3)).astype(np.uint8))


def cut(path: Path, share: float) -> None:
    """Keep the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def saved(image: Image.Image, **options):
    return lambda path: image.save(path, **options)


def truncated(**options):
    """An image of which the second half is missing."""

    def write(path: Path) -> None:
        picture().save(path, **options)
        cut(path, 0.5)

    return write


def damaged(offset: int, **options):
    """An image with one byte turned over, counted from the end where the offset is negative."""

    def write(path: Path) -> None:
        picture().save(path, **options)
        content = bytearray(path.read_bytes())
        content[offset] ^= 0xFF
        path.write_bytes(bytes(content))

    return write


def bomb(pixels: int):
    """A file of 3 kB that says it is of that height and width."""

    def write(path: Path) -> None:
        picture().save(path, format="BMP")
        content = bytearray(path.read_bytes())
        content[18:26] = np.array([pixels, pixels], "<i4").tobytes()
        path.write_bytes(bytes(content))

    return write


BAD = {
    "empty.png": Path.touch,
    "empty.jpg": Path.touch,
    "text.png": lambda path: path.write_text("no image at all"),
    "page.jpg": lambda path: path.write_text("<html>404 not found</html>"),
    "zeros.png": lambda path: path.write_bytes(bytes(1000)),
    "gif.png": saved(picture(), format="GIF"),
    "icon.bmp": saved(picture(), format="ICO"),
    "script.jpg": lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\nshowpage\n"),
    **{f"truncated{suffix}": truncated() for suffix in (".png", ".jpg", ".bmp", ".ppm", ".tif", ".webp")},
    "header only.png": lambda path: (picture().save(path), cut(path, 0.01)),
    "damaged header.png": damaged(17),
    "damaged pixels.png": damaged(100),
    "damaged checksum.png": damaged(-14),
    "damaged.webp": damaged(30, lossless=True),
    "bomb.bmp": bomb(10_000),
    "larger bomb.bmp": bomb(60_000),
    "folder.png": Path.mkdir,
    "pipe.png": os.mkfifo,
    "broken link.png": lambda path: path.symlink_to("nowhere.png"),
    "link to itself.png": lambda path: path.symlink_to(path),
    "transparent.png": saved(Image.new("RGBA", (SIZE, SIZE), (1, 2, 3, 4))),
    "floats.tif": saved(Image.fromarray(np.float32(255 * np.ones((SIZE, SIZE))))),
    "32 bits.tif": saved(Image.fromarray(np.ones((SIZE, SIZE), np.int32))),
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """An image folder `tiny`: two classes, four images to train on and two held out, of which one is evaluated."""
    root = tmp_path / "data" / "tiny"
    for index, split in enumerate(("train", "train", "test", "test")):
        for label, name in enumerate(("dark", "light")):
            (root / split / name).mkdir(parents=True, exist_ok=True)
            picture(2 * index + label).save(root / split / name / f"{index}.png")
    return root


@pytest.fixture
def said(gradinv, write_suite, folder):
    """Runs a verb on the data set; what it says is one line with exit status 2, and given back."""
    suite = write_suite(dataset="tiny", batch_sizes=[2])

    def run(verb: str) -> str:
        arguments = {
            "check": ["check", suite],
            "run": ["run", suite, "--out", folder.parent / "run", "--device", "cpu"],
            "train": ["train", "lenet_dlg", "--dataset", "tiny", "--device", "cpu"],
            "labels": [
                "labels",
                "--dataset",
                "tiny",
                "--model",
                "lenet_dlg",
                "--out",
                folder.parent / "labels",
                "--batch-size",
                1,
            ],
        }
        result = gradinv(*arguments[verb])
        assert (result.status, result.out) == (2, "")
        assert result.err.startswith("gradinv: ")
        assert result.err.count("\n") == 1
        assert not (folder.parent / "run").exists()
        return result.err

    return run


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_among_the_held_out_ones(said, folder, name: str) -> None:
    # Every image of a class, since half of them are for tuning.
    for image in sorted((folder / "test" / "dark").iterdir()):
        image.unlink()
        bad = image.with_name(f"{image.stem} {name}")
        BAD[name](bad)
    assert f"{folder / 'test' / 'dark'}{os.sep}" in said("check")
    assert name in said("run")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_to_train_on(said, folder, name: str) -> None:
    bad = folder / "train" / "light" / f"x {name}"
    BAD[name](bad)
    assert str(bad) in said("train")


@pytest.mark.parametrize("name", ["empty.png", "pipe.png", "truncated.png"])
def test_a_bad_image_under_label_inference(said, folder, name: str) -> None:
    for image in sorted((folder / "test" / "light").iterdir()):
        image.unlink()
        BAD[name](image.with_name(f"{image.stem} {name}"))
    assert name in said("labels")


@pytest.mark.parametrize("make", [Path.unlink, lambda path: (path.unlink(), os.mkfifo(path))], ids=["gone", "pipe"])
def test_a_file_that_changes_before_it_is_hashed(folder, make) -> None:
    from gradinv.benchmark.datasets import DataError, create_dataset

    split = create_dataset("tiny").split("train")
    make(folder / "train" / "light" / "1.png")
    with pytest.raises(DataError, match=r"light/1\.png is .* where an image should be"):
        _ = split.content_hash


def test_what_is_changed_is_printed_by_check(gradinv, write_suite, folder) -> None:
    for image in (folder / "test").rglob("*.png"):
        picture(0, (SIZE, 40)).convert("L").save(image)
    settings = {"dataset": "tiny", "image_size": SIZE}
    result = gradinv("check", write_suite(**settings, victims=[{"model": "lenet_dlg", "state": "untrained"}]))
    assert result.status == 0
    assert result.out.splitlines()[:-1] == [
        f"tiny 32 px, {role}: 2 of 2 images: {change}"
        for role in ("evaluation", "tuning")
        for change in ("grey, read as three equal channels", "centre cut out of 32 x 40")
    ]
    picture(0, (64, 64)).save(folder / "train" / "dark" / "0.png")
    trained = gradinv("check", write_suite(**settings, victims=[{"model": "lenet_dlg", "state": "trained"}]))
    line = "tiny 32 px, train: 1 of 4 images: scaled to a short side of 32 from 64 x 64, first dark/0.png"
    assert line in trained.out.splitlines()
