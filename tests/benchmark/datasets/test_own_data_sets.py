"""Data sets of one's own: what they must be is checked when they are made, in one line that names the data set."""

import numpy as np
import pytest

from gradinv.benchmark.datasets import (
    DATASETS,
    ArraySplit,
    Change,
    DataError,
    Dataset,
    create_dataset,
    held_out_loaders,
    register_dataset,
)

IMAGES = np.zeros((8, 16, 16, 3), np.uint8)
LABELS = np.arange(8) % 4
CLASSES = ["a", "b", "c", "d"]


@pytest.fixture
def register():
    """Registers a data set `mine`, and forgets it."""
    yield register_dataset("mine")
    DATASETS._entries.pop("mine", None)


def make(images=IMAGES, labels=LABELS, classes=CLASSES, size=16, name="mine", load=None, role="train"):
    load = load or (lambda: ArraySplit(images, labels))
    return lambda image_size=None, *, download=False: Dataset(
        name, classes, size, {role: load, **held_out_loaders(load)}
    )


WRONG = {
    "floats": ({"images": IMAGES / 255}, "images are float64, from 0 to 0; give uint8 from 0 to 255"),
    "larger integers": ({"images": IMAGES.astype(np.int64) + 300}, "images are int64, from 300 to 300"),
    "a list": ({"images": IMAGES.tolist()}, "images are a list; give a NumPy array"),
    "channels first": ({"images": IMAGES.transpose(0, 3, 1, 2)}, r"\(8, 3, 16, 16\).*transpose\(0, 2, 3, 1\)"),
    "no channel": ({"images": IMAGES[..., 0]}, r"shape \(8, 16, 16\); give \(n, height, width, 3\), or 1 for grey"),
    "one channel": ({"images": IMAGES[..., :1]}, r"uint8 \(16, 16, 1\) where image_size is 16; .*, and channels=1$"),
    "four channels": ({"images": np.zeros((8, 16, 16, 4), np.uint8)}, r"shape \(8, 16, 16, 4\)"),
    "another size": ({"size": 32}, r"uint8 \(16, 16, 3\) where image_size is 32"),
    "not square": ({"images": IMAGES[:, :8]}, r"uint8 \(8, 16, 3\) where image_size is 16"),
    "two sizes": ({"size": (16, 20)}, r"uint8 \(16, 16, 3\) where image_size is 16x20; give uint8 \(16, 20, 3\)"),
    "three sizes": ({"size": (16, 20, 3)}, r"image_size \(16, 20, 3\) is no number of pixels"),
    "a huge size": ({"size": 100_000}, "image_size 100000 is no number of pixels"),
    "fewer labels": ({"labels": LABELS[:7]}, "8 images and 7 labels"),
    "labels of two axes": ({"labels": LABELS.reshape(4, 2)}, r"labels are of shape \(4, 2\)"),
    "labels by name": ({"labels": ["a"] * 8}, "labels are <U1, not whole numbers"),
    "half labels": ({"labels": LABELS + 0.5}, "labels are float64, not whole numbers"),
    "labels from one": ({"labels": LABELS + 1}, r"labels go from 1 to 4; with 4 classes they lie in 0\.\.3"),
    "negative labels": ({"labels": LABELS - 1}, "labels go from -1 to 2"),
    "one class": ({"classes": ["a"], "labels": LABELS * 0}, "there is 1 class; a classifier needs two"),
    "no class": ({"classes": []}, "there are no classes"),
    "classes by number": ({"classes": [0, 1, 2, 3]}, "classes are no list of names"),
    "one name": ({"classes": "abcd"}, "classes are no list of names"),
    "no image": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "there are no images"),
    "no split": ({"load": lambda: None}, "its loader gave NoneType; give a Split"),
    "another role": ({"role": "test"}, "test is no split; they are called train, tuning, evaluation"),
    "another name": ({"name": "yours"}, "mine calls itself yours"),
    "a loader's fault": ({"load": lambda: 1 / 0}, r"cannot be made: ZeroDivisionError: .*\.py:\d+\)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_what_a_data_set_must_be(register, kind: str) -> None:
    settings, message = WRONG[kind]
    register(make(**settings))
    with pytest.raises(DataError, match=message) as caught:
        create_dataset("mine").split("train")
    assert "mine" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda image_size, *, download: None, "its function returned NoneType; return a Dataset"),
        (lambda image_size, *, download: {}["nowhere"], "data set mine cannot be made: KeyError: 'nowhere'"),
        (lambda: None, "data set mine cannot be made: TypeError"),
    ],
)
def test_what_its_function_must_do(register, function, message: str) -> None:
    register(function)
    with pytest.raises(DataError, match=message):
        create_dataset("mine")


def test_an_asked_size_is_given_or_refused(register) -> None:
    register(make())
    assert create_dataset("mine", 16).image_size == 16
    with pytest.raises(DataError, match="mine has images of 16 pixels only, not of 32"):
        create_dataset("mine", 32)


def test_images_of_an_own_set_may_be_of_any_shape(register) -> None:
    register(make(images=IMAGES[:, :8], size=(8, 16)))
    assert create_dataset("mine", [8, 16]).split("train").images([0]).shape == (1, 3, 8, 16)


@pytest.mark.parametrize("labels", [LABELS, LABELS.tolist(), LABELS.astype(np.uint8), LABELS.astype(float)])
def test_whole_numbers_of_any_type_are_labels(labels) -> None:
    split = make(labels=labels)().split("train")
    assert split.labels.dtype == np.int64
    assert split.labels.tolist() == LABELS.tolist()


def test_what_a_data_set_of_ones_own_changed_is_said_too() -> None:
    changed = [Change("mirrored")]
    dataset = make(load=lambda: ArraySplit(IMAGES, LABELS, changed=changed))()
    assert dataset.split("train").changes == ["8 of 8 images: mirrored"]
    assert dataset.split("evaluation").changes == ["4 of 4 images: mirrored"]
