"""Image folders: what is changed or passed over is counted and named, and how folders must be called is said."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradinv.benchmark.datasets import DataError, create_dataset, dataset_names
from gradinv.benchmark.datasets.folder import IMG_EXTENSIONS
from gradinv.metrics.registry import UnknownNameError


@pytest.fixture
def root(tmp_path) -> Path:
    """The data root."""
    return tmp_path / "data"


def fill(folder: Path, classes=("ant", "bee"), count=4, size=(8, 8), suffix=".png", mode="RGB") -> None:
    """Class folders of random images of (width, height)."""
    random = np.random.RandomState(len(str(folder)))
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            image = Image.fromarray(random.randint(0, 256, (*size[::-1], 3)).astype(np.uint8)).convert(mode)
            image.save(folder / name / f"{index}{suffix}")


def changes(name: str, size: int | None = None, role="evaluation") -> list[str]:
    return create_dataset(name, size).split(role).changes


def test_images_as_they_are_leave_nothing_to_say(root) -> None:
    fill(root / "plain" / "test")
    fill(root / "plain" / "train")
    assert [changes("plain", role=role) for role in ("train", "tuning", "evaluation")] == [[], [], []]


def test_everything_done_to_images_is_counted_and_named(root) -> None:
    fill(root / "mixed" / "train", size=(64, 80), mode="L")
    fill(root / "mixed" / "train", classes=("bee",), size=(64, 64))
    fill(root / "mixed" / "test", size=(64, 80))
    assert changes("mixed", 64, role="train") == [
        "4 of 8 images: grey, read as three equal channels, first ant/0.png",
        "4 of 8 images: centre cut out of 64 x 80, first ant/0.png",
    ]
    assert changes("mixed", 64) == ["4 of 4 images: centre cut out of 64 x 80"]
    assert changes("mixed", role="train")[1:] == [
        "4 of 8 images: scaled to 80 x 80 from 64 x 64, first bee/0.png",
        "4 of 8 images: centre cut out of 64 x 64, first bee/0.png",
    ]
    assert changes("mixed", 32) == [
        "4 of 4 images: scaled to a short side of 32 from 64 x 80",
        "4 of 4 images: centre cut out of 64 x 80",
    ]


@pytest.mark.parametrize("asked", [None, (80, 64), "80x64"])
def test_images_that_are_not_square_stay_as_they_are(root, asked) -> None:
    fill(root / "high" / "test", size=(64, 80))
    data = create_dataset("high", asked)
    assert (data.image_size, data.image_shape, changes("high", asked)) == ("80x64", (3, 80, 64), [])
    stored = np.asarray(Image.open(data.split("evaluation").parent.files[0]).convert("RGB"))
    assert np.array_equal(data.split("evaluation").parent.pixels([0])[0], stored)
    scaled = create_dataset("high", (20, 16)).split("evaluation")
    assert (scaled.pixels([0]).shape, scaled.changes) == (
        (1, 20, 16, 3),
        ["4 of 4 images: scaled to 16 x 20 from 64 x 80"],
    )


def test_a_folder_of_two_shapes_is_squared_unless_a_size_is_asked_for(root) -> None:
    fill(root / "two" / "test", size=(64, 80))
    fill(root / "two" / "test", classes=("bee",), size=(80, 64))
    assert create_dataset("two").image_size == 64
    cut = create_dataset("two", (80, 64)).split("evaluation").changes
    assert [line.partition(": ")[2].partition(",")[0] for line in cut] == [
        "scaled to 100 x 80 from 80 x 64",
        "centre cut out of 80 x 64",
    ]


def test_images_of_several_sizes_are_one_line(root) -> None:
    for index, width in enumerate((8, 9, 10, 11)):
        fill(root / "sizes" / "train", classes=(f"class{index}",), count=2, size=(width, 8))
    (root / "sizes" / "test").symlink_to("train", target_is_directory=True)
    train = create_dataset("sizes").split("train").changes
    assert train == ["6 of 8 images: centre cut out of 9 x 8 and 2 other sizes, first class1/0.png"]


def test_files_that_are_no_images_are_counted_and_hidden_ones_passed_over(root) -> None:
    test = root / "stray" / "test"
    fill(test)
    for name in ("readme.txt", "ant/Thumbs.db", "bee/b.gif", ".hidden.png", "ant/._0.png"):
        (test / name).write_text("no image")
    (test / ".cache").mkdir()
    (root / "stray" / "old").mkdir()
    dataset = create_dataset("stray")
    assert len(dataset.split("evaluation")) == 4
    assert dataset.split("evaluation").changes == dataset.split("tuning").changes
    assert dataset.split("evaluation").changes == [
        "folders beside test that are not read: old",
        "3 passed over, no image by their names: readme.txt, ant/Thumbs.db, bee/b.gif",
    ]


@pytest.mark.parametrize("suffix", IMG_EXTENSIONS)
def test_every_suffix_of_torchvisions_is_an_image(root, suffix: str) -> None:
    fill(root / "suffixes" / "test", suffix=suffix.upper(), mode="L" if suffix == ".pgm" else "RGB")
    assert len(create_dataset("suffixes").split("evaluation")) == 4


@pytest.mark.parametrize("held_out", ["test", "val", "valid", "validation"])
def test_held_out_folders_have_four_names(root, held_out: str) -> None:
    fill(root / "named" / held_out)
    assert "named" in dataset_names()
    assert len(create_dataset("named").split("evaluation")) == 4


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (
            "",
            r"flat has no folder test or val or valid or validation; move its class folders \(ant, bee\) into .*test$",
        ),
        ("train", r"rename the one of its folders \(train\) whose images are attacked to test"),
        ("Testing", r"rename the one of its folders \(Testing\)"),
        ("test/images", r"test/images holds no image .* fill or remove it"),
        ("test", "data set flat: there is 1 class"),
    ],
)
def test_folders_of_another_make_are_told_what_to_rename(root, inside: str, message: str) -> None:
    fill(root / "flat" / inside, classes=("ant",) if inside == "test" else ("ant", "bee"))
    with pytest.raises(DataError, match=message) as caught:
        create_dataset("flat")
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_told_where_images_go(root) -> None:
    (root / "empty").mkdir(parents=True)
    with pytest.raises(DataError, match=r"put images into .*empty/test/<class>/"):
        create_dataset("empty")


@pytest.mark.parametrize("name", ["photos", "cifar10", "cifar100"])
def test_a_folder_named_like_a_known_data_set_is_never_passed_over(root, name: str) -> None:
    fill(root / name / "val")
    with pytest.raises(DataError, match=rf"{name} is a data set of gradinv's own and not .*{name}; rename that folder"):
        create_dataset(name)


def test_a_folder_named_imagenet_is_told_of(root) -> None:
    fill(root / "imagenet" / "val")
    with pytest.raises(DataError, match=r"imagenet \(val\) is not in .*; or rename the folder, to read it as images"):
        create_dataset("imagenet")


@pytest.mark.parametrize("name", ["", ".", "..", "../data/elsewhere", "elsewhere/test", "a\0b", "x" * 300])
def test_a_name_is_no_path(root, name: str) -> None:
    fill(root / "elsewhere" / "test")
    with pytest.raises(UnknownNameError, match="unknown data set"):
        create_dataset(name)


@pytest.mark.parametrize(
    "make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("nowhere"), lambda path: path.symlink_to(path)]
)
def test_what_is_called_an_image_and_is_no_file(root, make) -> None:
    fill(root / "odd" / "test")
    odd = root / "odd" / "test" / "ant" / "odd.png"
    make(odd)
    with pytest.raises(DataError, match=r"ant/odd\.png is .* where an image should be; rename or remove it"):
        create_dataset("odd")


@pytest.mark.parametrize("size", [0, -1, 1025, 100_000, True, 8.5, "8"])
@pytest.mark.parametrize("name", ["photos", "plain"])
def test_sizes_beyond_reason_are_refused_at_once(root, name: str, size) -> None:
    fill(root / "plain" / "test")
    with pytest.raises(DataError, match=rf"image_size {size} is no number of pixels in 1\.\.1024"):
        create_dataset(name, size)


def test_a_folder_of_huge_images_needs_a_size(root) -> None:
    fill(root / "huge" / "test", count=2, size=(1025, 1030))
    with pytest.raises(DataError, match="data set huge: image_size 1030x1025"):
        create_dataset("huge")
    assert create_dataset("huge", 16).split("evaluation").pixels([0]).shape == (1, 16, 16, 3)
