"""Folders of anybody's images: what layout is which, and which is refused."""

import numpy as np
import pytest
from PIL import Image

from gradinv.benchmark.datasets import DataError, find_images, loose_dataset


@pytest.fixture
def put(tmp_path):
    """Writes grey images, 8 pixels high and 10 wide, under these paths."""

    def write(*names):
        for level, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 10, 3), level, dtype=np.uint8)).save(path)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["b.png", "a.png"], []),
        (["ant/a.png", "bee/a.png"], ["ant", "bee"]),
        (["x/ant/a.png", "y/bee/b.png"], ["ant", "bee"]),
    ],
)
def test_flat_class_folders_and_splits_are_known(put, names, classes):
    images = find_images(put(*names))
    assert images.classes == classes
    assert sorted(str(path.relative_to(images.root)) for path in images.files) == sorted(names)
    assert images.image_size == "8x10"
    assert not any(images.in_train)


def test_a_split_called_train_is_for_training_where_there_are_others(put):
    images = find_images(put("train/ant/a.png", "train/ant/b.png", "held/ant/c.png", "held/ant/d.png"))
    data = loose_dataset("mine", images, [0] * 4, ["ant", "bee"], 8)
    assert {role: data.split(role).pixels([0])[0, 0, 0, 0] for role in ("tuning", "evaluation")}.keys()
    assert sorted(data.split("train").pixels([0, 1])[:, 0, 0, 0]) == [0, 1]
    held = [data.split(role).pixels([0])[0, 0, 0, 0] for role in ("tuning", "evaluation")]
    assert sorted(held) == [2, 3]


def test_without_train_the_three_splits_share_no_image(put):
    images = find_images(put(*(f"ant/{index}.png" for index in range(8))))
    data = loose_dataset("mine", images, [0] * 8, ["ant", "bee"], 8)
    splits = [data.split(role) for role in ("train", "tuning", "evaluation")]
    values = [int(split.pixels([place])[0, 0, 0, 0]) for split in splits for place in range(len(split))]
    assert sorted(values) == list(range(8))
    assert [len(split) for split in splits] == [4, 2, 2]
    assert any("centre cut out of" in change for change in splits[2].changes)


def test_what_has_two_meanings_or_none_is_refused(put, tmp_path):
    with pytest.raises(DataError, match="no folder"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no image"):
        find_images(tmp_path)
    with pytest.raises(DataError, match="two depths"):
        find_images(put("a.png", "ant/b.png"))


def test_a_folder_without_images_is_named(put):
    root = put("ant/a.png")
    (root / "empty").mkdir()
    assert find_images(root).remarks == ("folders without images, passed over: empty",)
