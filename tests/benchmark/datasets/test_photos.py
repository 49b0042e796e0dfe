"""Photos: the embedded data set is reproducible, its roles share no pixel, its batches hold no near-copies."""

import itertools

import numpy as np
import pytest

from gradinv.benchmark.datasets import DataError, create_dataset, photos
from gradinv.benchmark.datasets.photos import BANDS, LEAST_DEVIATION, PHOTOGRAPHS, Cut, PatchSplit, band, deviation


@pytest.fixture(scope="module")
def dataset():
    return create_dataset("photos")


def test_eight_classes_of_coloured_patches(dataset) -> None:
    assert len(dataset.classes) == 8
    assert dataset.image_size == 32
    for role, count in (("train", 250), ("tuning", 64), ("evaluation", 64)):
        split = dataset.split(role)
        assert np.bincount(split.labels).tolist() == [count] * 8
        images = split.images([0, len(split) - 1])
        assert images.shape == (2, 3, 32, 32)
        assert 0 <= images.min() < images.max() <= 1
        assert not (images[:, 0] == images[:, 1]).all()


def test_patches_are_reproducible_and_sizes_differ(dataset) -> None:
    again = create_dataset("photos", 32)
    assert again.split("evaluation").content_hash == dataset.split("evaluation").content_hash
    assert create_dataset("photos", 16).split("evaluation").content_hash != again.split("evaluation").content_hash


def test_patches_are_not_flat(dataset) -> None:
    for role in BANDS:
        assert min(deviation(patch) for patch in dataset.split(role).array) >= LEAST_DEVIATION


def test_roles_are_cut_from_bands_that_share_no_pixel() -> None:
    edges = sorted(BANDS.values())
    assert edges[0][0] == 0
    assert edges[-1][1] == 1
    assert all(left[1] == right[0] for left, right in itertools.pairwise(edges))


@pytest.mark.parametrize("role", ["tuning", "evaluation"])
def test_patches_lie_in_their_band_and_are_distinct(dataset, role) -> None:
    split = dataset.split(role)
    regions = [band(name, role, 32) for name in PHOTOGRAPHS]
    for patch, cut in zip(split.array, split.cuts, strict=True):
        region = regions[cut.photograph]
        np.testing.assert_array_equal(patch, region[cut.top : cut.top + 32, cut.left : cut.left + 32])
    assert len(set(split.cuts)) == len(split)


def test_overlap_is_a_share_of_the_area() -> None:
    cuts = [Cut(0, 0, 0), Cut(0, 0, 24), Cut(0, 0, 23), Cut(1, 0, 0), Cut(0, 40, 0)]
    split = PatchSplit(np.zeros((5, 32, 32, 3), dtype=np.uint8), np.zeros(5), cuts)
    assert [split.overlaps(0, second) for second in range(1, 5)] == [False, True, False, False]


@pytest.mark.parametrize("size", [(12, 12), (16, 16), (64, 64), (12, 20)])
def test_other_sizes(size: tuple[int, int]) -> None:
    dataset = create_dataset("photos", size)
    assert all(dataset.split(role).images([0]).shape == (1, 3, *size) for role in BANDS)


def test_sizes_that_give_no_good_patches_are_clear_errors() -> None:
    with pytest.raises(DataError, match="photos: patches have 512 pixels a side at most, not 513"):
        create_dataset("photos", 513)
    with pytest.raises(DataError, match="take a larger image"):
        create_dataset("photos", 1).split("train")


def test_missing_pictures_are_a_clear_error(monkeypatch) -> None:
    monkeypatch.setitem(photos.PHOTOGRAPHS, "chelsea", "no_such_file.png")
    with pytest.raises(DataError, match="reinstall scikit-image"):
        create_dataset("photos").split("tuning")
