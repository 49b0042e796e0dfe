"""The recipes of the boards' data sets on small sources, and the hashes by which their files are told from ours."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torchvision
from PIL import Image

from gradinv.benchmark.datasets import DataError, compared, create_dataset, make, recipes
from gradinv.benchmark.datasets.obtainable import OBTAINABLE
from gradinv.metrics.registry import UnknownNameError


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root of its own, and hashes that are set to what `make` gave."""
    monkeypatch.setenv("GRADINV_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path


def photograph(path, size=(50, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3)
    Image.fromarray(ramp.astype(np.uint8)).save(path, "JPEG", quality=95)


def made_of(name, folder):
    """(split/class/file) -> opened image, of a data set that was made."""
    return {str(path.relative_to(folder)): Image.open(path) for path in sorted(folder.rglob("*.jpg"))}


def test_cifar_is_numbered_within_its_classes_and_encoded_as_ours(root, monkeypatch):
    pixels = np.random.RandomState(0).randint(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    fake = SimpleNamespace(data=pixels, targets=[1, 0, 1], classes=["cat", "dog"])
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", lambda folder, train, download: fake)
    files = made_of("cifar10_jpeg", make("cifar10_jpeg", root))
    assert [name for name in files if name.startswith("test")] == [
        "test/cat/0000.jpg", "test/dog/0000.jpg", "test/dog/0001.jpg",
    ]  # fmt: skip
    encoded = io.BytesIO()
    Image.fromarray(pixels[2]).save(encoded, "JPEG", quality=75)
    assert (root / "data/cifar10_jpeg/train/dog/0001.jpg").read_bytes() == encoded.getvalue()
    assert create_dataset("cifar10_jpeg").classes == ["cat", "dog"]


def test_tiny_imagenet_is_read_by_its_annotations(root):
    source = root / "tiny-imagenet-200"
    for name in ("n01_0", "n01_12", "n02_3"):
        photograph(source / "train" / name[:3] / "images" / f"{name}.JPEG", (64, 64))
    for number, label in ((7, "n02"), (9, "n01")):
        photograph(source / "val" / "images" / f"val_{number}.JPEG", (64, 64))
        with (source / "val" / "val_annotations.txt").open("a") as file:
            file.write(f"val_{number}.JPEG\t{label}\t0\t0\t62\t62\n")
    files = made_of("tinyimagenet32", make("tinyimagenet32", source))
    assert list(files) == [
        "train/n01/0.jpg", "train/n01/12.jpg", "train/n02/3.jpg", "val/n01/9.jpg", "val/n02/7.jpg",
    ]  # fmt: skip
    assert {image.size for image in files.values()} == {(32, 32)}


def test_imagenette_has_the_hundred_held_out_images_of_our_list(root):
    source, label = root / "imagenette2", "n01440764"
    photograph(source / "train" / label / "n01440764_10026.JPEG")
    photograph(source / "val" / label / "n01440764_10110.JPEG")
    photograph(source / "val" / label / "n01440764_99999.JPEG")
    files = made_of("imagenette128", make("imagenette128", source))
    assert list(files) == [f"train/{label}/n01440764_10026.jpg", f"val/{label}/n01440764_10110.jpg"]
    listed = recipes._published()["imagenette128 val"]
    assert [len(names) for names in listed.values()] == [100] * 10


@pytest.mark.parametrize(("name", "first"), [("tinyimagenet32", 8), ("imagenette128", 6), ("imagenet1000", 4)])
def test_the_qualities_are_those_of_our_quantisation_tables(name, first):
    encoded = io.BytesIO()
    Image.new("RGB", (16, 16)).save(encoded, "JPEG", quality=OBTAINABLE[name].quality)
    assert Image.open(encoded).quantization[0][0] == first


def test_files_are_told_from_ours_by_class(root, monkeypatch):
    for name in ("n1_ant", "n2_bee", "n3_cat"):
        photograph(root / "samples" / f"{name}.JPEG", (300, 260))
    folder = make("imagenet1000", root / "samples")
    assert made_of("imagenet1000", folder)["val/n1/ant.jpg"].size == (224, 224)
    ours = {label: list(recipes.hash_of_class(folder / "val" / label)) for label in ("n1", "n2", "n3")}
    monkeypatch.setattr(recipes, "_published", lambda: {"imagenet1000": {"val": ours}})
    assert [str(split) for split in compared("imagenet1000")] == ["val: 3 classes, every file as ours"]
    with (folder / "val" / "n1" / "ant.jpg").open("ab") as file:
        file.write(b"x")
    (folder / "val" / "n2" / "other.jpg").write_bytes(b"x")
    (folder / "val" / "n3").rename(folder / "val" / "n4")
    assert str(compared("imagenet1000")[0]) == (
        "val: 0 classes as ours, 4 differ: n1 (other names or bytes); n2 (2 files, ours 1); n3 (missing) ..."
    )


def test_what_cannot_be_made_is_a_line_and_leaves_nothing(root):
    (root / "tiny" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"val_annotations\.txt is missing"):
        make("tinyimagenet32", root / "tiny")
    with pytest.raises(DataError, match="no folder; give the folder imagenette2"):
        make("imagenette128", root / "nowhere")
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        make("imagenet1000", root / "empty")
    assert list((root / "data").iterdir()) == []
    (root / "data" / "imagenet1000").mkdir()
    with pytest.raises(DataError, match="is there already"):
        make("imagenet1000", root / "empty")
    with pytest.raises(UnknownNameError, match="did you mean imagenet1000"):
        make("imagenet100", root)


def test_an_unknown_data_set_names_its_recipe(root):
    with pytest.raises(UnknownNameError, match="`gradinv data cifar10_jpeg` says how to make it"):
        create_dataset("cifar10_jpeg")


def test_the_list_of_hashes_has_every_recipe():
    published = recipes._published()
    counts = {
        name: {split: sum(number for number, _ in classes.values()) for split, classes in published[name].items()}
        for name in OBTAINABLE
    }
    assert counts == {
        "cifar10_jpeg": {"test": 10_000, "train": 50_000},
        "tinyimagenet32": {"train": 100_000, "val": 10_000},
        "imagenette128": {"train": 9_469, "val": 1_000},
        "imagenet1000": {"val": 1_000},
    }
