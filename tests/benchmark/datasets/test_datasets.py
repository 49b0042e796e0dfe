"""Data sets: names without torch, image folders, halves, hashes, torchvision's sets, clear errors."""

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets as tv

from gradinv.benchmark.datasets import DATASETS, DataError, create_dataset, dataset_names
from gradinv.benchmark.datasets.base import halves
from gradinv.metrics.registry import UnknownNameError


def noise(seed: int, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.fromarray(np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8))


def write_folder(root: Path, splits: dict[str, int], classes: tuple[str, ...] = ("ant", "bee", "cat")) -> Path:
    for split, count in splits.items():
        for index, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise(hash_of(split, index, number)).save(folder / f"{number}.png")
    return root


def hash_of(*parts) -> int:
    return int(hashlib.sha256(repr(parts).encode()).hexdigest()[:7], 16)


@pytest.fixture
def folder(tmp_path) -> Path:
    """An image folder of three classes below the data root."""
    return write_folder(tmp_path / "data" / "insects", {"train": 4, "test": 5})


def test_names_are_listed_without_torch(folder) -> None:
    code = (
        "import sys; from gradinv.benchmark.datasets import dataset_names; "
        "print(*dataset_names(), 'torch' in sys.modules)"
    )
    words = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert words == ["cifar10", "cifar100", "imagenet", "insects", "photos", "False"]


def test_a_stray_folder_is_no_data_set(folder) -> None:
    (folder.parent / "cifar-10-batches-py").mkdir()
    assert "cifar-10-batches-py" not in dataset_names()


def test_every_registered_name_loads_its_module() -> None:
    for name in DATASETS.names():
        assert callable(DATASETS.get(name).target)


def test_an_unknown_name_is_answered_with_near_names(folder) -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean insects.*GRADINV_DATA"):
        create_dataset("insect")


def test_a_folder_is_a_data_set_under_its_name(folder) -> None:
    dataset = create_dataset("insects")
    assert (dataset.name, dataset.classes, dataset.image_size) == ("insects", ["ant", "bee", "cat"], 8)
    train = dataset.split("train")
    assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    stored = np.asarray(Image.open(folder / "train" / "bee" / "0.png"))
    images = train.images([4, 0])
    assert images.dtype == torch.float32
    torch.testing.assert_close(images[0], torch.from_numpy(stored / 255).permute(2, 0, 1).float())
    assert train.image_hash(4) == hashlib.sha256(stored.tobytes()).hexdigest()[:16]


def test_tuning_and_evaluation_are_disjoint_halves_of_the_test_images(folder) -> None:
    dataset = create_dataset("insects")
    tuning, evaluation = dataset.split("tuning"), dataset.split("evaluation")
    hashes = [[split.image_hash(index) for index in range(len(split))] for split in (tuning, evaluation)]
    assert len(set(hashes[0]) | set(hashes[1])) == len(hashes[0]) + len(hashes[1]) == 15
    assert all(count in (2, 3) for split in (tuning, evaluation) for count in np.bincount(split.labels))
    assert abs(len(tuning) - len(evaluation)) == 1


@pytest.mark.parametrize("per_class", [1, 2, 5, 10])
def test_halves_are_stratified_and_share_single_images_out(per_class: int) -> None:
    labels = np.repeat(np.arange(100), per_class)
    tuning, evaluation = halves(labels)
    assert sorted([*tuning, *evaluation]) == list(range(len(labels)))
    assert abs(len(tuning) - len(evaluation)) <= 1
    difference = np.bincount(labels[tuning], minlength=100) - np.bincount(labels[evaluation], minlength=100)
    assert np.abs(difference).max() <= 1
    if per_class == 1:  # shared out at random, not the first classes to one side and not every second
        assert 10 < (tuning < 50).sum() < 40
        assert 10 < (tuning % 2).sum() < 40
    np.testing.assert_array_equal(halves(labels)[0], tuning)


def test_val_stands_in_for_test_and_train_may_be_missing(tmp_path) -> None:
    write_folder(tmp_path / "data" / "held", {"val": 2})
    dataset = create_dataset("held")
    assert len(dataset.split("tuning")) == len(dataset.split("evaluation")) == 3
    assert not dataset.has("train")
    with pytest.raises(DataError, match="held has no train images"):
        dataset.split("train")


def test_the_content_hash_covers_bytes_names_and_labels(folder) -> None:
    before = create_dataset("insects")
    hashes = [before.split(role).content_hash for role in ("train", "tuning", "evaluation")]
    assert len(set(hashes)) == 3
    assert [create_dataset("insects").split(role).content_hash for role in ("train", "tuning", "evaluation")] == hashes
    noise(12345).save(folder / "test" / "ant" / "0.png")
    assert create_dataset("insects").split("train").content_hash == hashes[0]
    assert create_dataset("insects").split("evaluation").content_hash != hashes[2]
    (folder / "train" / "ant" / "0.png").rename(folder / "train" / "cat" / "9.png")
    assert create_dataset("insects").split("train").content_hash != hashes[0]


def test_resizing_takes_the_centre_after_the_short_side(tmp_path) -> None:
    image = Image.new("RGB", (32, 16), (255, 0, 0))
    image.paste((0, 0, 255), (8, 0, 24, 16))
    for name in ("ant/a.png", "ant/b.png", "bee/a.png", "bee/b.png"):
        path = tmp_path / "data" / "wide" / "test" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    evaluation = create_dataset("wide", 8).split("evaluation").images([0])
    torch.testing.assert_close(evaluation[0, :, 4, 3:5], torch.tensor([[0.0, 0], [0, 0], [1, 1]]))
    assert create_dataset("wide").image_size == "16x32"
    assert evaluation.shape == (1, 3, 8, 8)


def test_a_split_too_large_for_memory_is_decoded_on_demand(folder, monkeypatch) -> None:
    kept = create_dataset("insects").split("train").images(range(12))
    monkeypatch.setattr("gradinv.benchmark.datasets.folder.MEMORY_LIMIT", 0)
    assert torch.equal(create_dataset("insects").split("train").images(range(12)), kept)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: [path.unlink() for path in (root / "test" / "ant").iterdir()], "holds no image"),
        (lambda root: (root / "train" / "dog").mkdir(), "has not the classes of its sibling: dog"),
        (lambda root: (root / "train" / "ant" / "0.png").write_text("text"), "cannot be read as an image"),
    ],
    ids=["empty class", "other classes", "no image"],
)
def test_malformed_folders_are_clear_errors(folder, damage, message: str) -> None:
    damage(folder)
    with pytest.raises(DataError, match=message):
        create_dataset("insects").split("train").images(range(12))


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagenet"])
def test_missing_sets_say_what_to_do(name: str) -> None:
    with pytest.raises(DataError, match=rf"{name}.* is not in .*(pass --download|put them there)"):
        create_dataset(name)


@pytest.fixture
def small_cifar(tmp_path, monkeypatch) -> Path:
    """Files in CIFAR-10's format, with the checksums that torchvision compares set to theirs."""
    root = tmp_path / "data" / tv.CIFAR10.base_folder
    root.mkdir(parents=True)

    def write(name: str, content: dict) -> list[str]:
        (root / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((root / name).read_bytes()).hexdigest()]

    random = np.random.RandomState(0)
    labels = [index % 10 for index in range(40)]
    for attribute, name in (("train_list", "data_batch_1"), ("test_list", "test_batch")):
        data = random.randint(0, 256, (40, 3072)).astype(np.uint8)
        monkeypatch.setattr(tv.CIFAR10, attribute, [write(name, {"data": data, "labels": labels})])
    classes = {"label_names": [f"class{index}" for index in range(10)]}
    name, checksum = write("batches.meta", classes)
    monkeypatch.setattr(tv.CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": checksum})
    return root


def test_cifar_comes_from_torchvisions_files(small_cifar) -> None:
    dataset = create_dataset("cifar10")
    assert dataset.classes == [f"class{index}" for index in range(10)]
    assert len(dataset.split("train")) == 40
    assert np.bincount(dataset.split("evaluation").labels).tolist() == [2] * 10
    assert dataset.split("evaluation").images([0]).shape == (1, 3, 32, 32)
    assert dataset.split("evaluation").changes == []
    smaller = create_dataset("cifar10", 16).split("evaluation")
    assert smaller.images([0]).shape == (1, 3, 16, 16)
    assert smaller.changes == ["20 of 20 images: scaled to a short side of 16 from 32 x 32"]


class Bomb:
    """An object whose unpickling leaves a trace."""

    def __reduce__(self):
        return (exec, ("import builtins; builtins.exploded = True",))


def test_a_changed_cifar_file_is_never_unpickled(small_cifar) -> None:
    (small_cifar / "test_batch").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="cifar10 is not in"):
        create_dataset("cifar10")
    assert not hasattr(__import__("builtins"), "exploded")


def test_imagenet_comes_from_torchvisions_folders(tmp_path) -> None:
    root = tmp_path / "data" / "imagenet"
    write_folder(root, {"val": 2}, classes=("n01", "n02"))
    (root / "val" / "n01" / "._0.png").write_text("what macOS leaves")
    torch.save(({"n01": ("tench", "a fish"), "n02": ("shark",)}, []), root / "meta.bin")
    dataset = create_dataset("imagenet")
    assert (dataset.classes, dataset.image_size) == (["tench", "shark"], 224)
    evaluation = dataset.split("evaluation")
    assert evaluation.images([0]).shape == (1, 3, 224, 224)
    assert evaluation.changes == ["2 of 2 images: scaled to a short side of 224 from 8 x 8"]
    with pytest.raises(DataError, match=r"imagenet \(train\) is not in"):
        dataset.split("train")


@pytest.mark.parametrize(("name", "red"), [("cifar100_x", 0.5071), ("cifar10_jpeg", 0.4914), ("other", 0.485)])
def test_the_name_decides_the_normalisation(make_dataset, name: str, red: float) -> None:
    assert make_dataset(name=name).mean[0] == red
