"""The network and the images of an audit: known by their names, or refused in a line."""

import numpy as np
import pytest
from PIL import Image

from gradinv.benchmark.audit import Inputs, register_inputs
from gradinv.benchmark.datasets import DataError, create_dataset
from gradinv.benchmark.victims import VictimError, load_victim
from gradinv.metrics.registry import RequestError

MODEL = """
from torch import nn

def three():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))

def pair():
    return Pair()

class Pair(nn.Linear):
    def __init__(self):
        super().__init__(8, 8)
    def forward(self, images):
        return images, images

def wide():
    return nn.Sequential(nn.Flatten(), nn.Linear(240, 3))

def grey():
    return nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten(), nn.Linear(2, 3))

def two():
    return nn.Sequential(nn.Conv2d(2, 2, 8), nn.Flatten(), nn.Linear(2, 3))
"""


@pytest.fixture
def inputs(tmp_path):
    """Makes inputs of a function of the file above and of a folder with images in these class folders."""
    # By the test's own folder: a name is registered once a process.
    nets = tmp_path / f"nets_{tmp_path.name}.py"
    nets.write_text(MODEL, encoding="utf-8")

    def make(function, *folders):
        data = tmp_path / f"{tmp_path.name}_{function}"
        for number, folder in enumerate(folders * 4):
            (data / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 16 * number, dtype=np.uint8)).save(data / folder / f"{number}.png")
        return Inputs(model=f"{nets}:{function}", data=str(data), image_size=8, std=(0.5, 0.5, 0.5))

    return make


def dataset_of(inputs):
    register_inputs(inputs)
    return create_dataset(inputs.data_name, inputs.image_size)


def test_class_folders_are_classes_where_there_are_as_many(inputs):
    made = inputs("three", "ant", "bee", "cat")
    data = dataset_of(made)
    assert data.classes == ["ant", "bee", "cat"]
    loaded = load_victim(made.victim, data)
    assert (loaded.std, loaded.state) == ((0.5, 0.5, 0.5), "untrained")


def test_numbers_of_outputs_name_classes_too(inputs):
    data = dataset_of(inputs("three", "0", "2"))
    assert data.classes == ["0", "1", "2"]
    assert set(data.split("train").labels.tolist()) == {0, 2}


def test_other_folders_are_refused(inputs):
    with pytest.raises(DataError, match=r"2 class folders and the network 3 outputs.*0 to 2"):
        dataset_of(inputs("three", "ant", "bee"))


def test_images_without_classes_are_what_the_network_takes_them_for(inputs):
    made = inputs("three", "")
    assert made.labels_are_predicted
    data = dataset_of(made)
    loaded = load_victim(made.victim, data)
    split = data.split("train")
    taken = loaded.module((split.images([0, 1]) - 0.0) / 0.5).argmax(1)
    assert split.labels.tolist() == taken.tolist()


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("pair", "returns tuple"),
        (
            "wide",
            "no images of 8 x 8.*; if it takes images of another size: --image-size",
        ),
        ("two", "no images of 8 x 8.*; images have 3 channels: wrap it in a module that calls it with 2 channels$"),
    ],
)
def test_networks_that_cannot_be_audited_are_refused(inputs, function, reason):
    with pytest.raises(VictimError, match=reason):
        dataset_of(inputs(function, "0"))


def test_what_is_no_function_is_refused(inputs):
    made = inputs("three", "0")
    with pytest.raises(RequestError, match="did you mean three"):
        register_inputs(made.model_copy(update={"model": made.model.replace("three", "tree")}))
    with pytest.raises(RequestError, match=r"FILE\.py:FUNCTION"):
        register_inputs(made.model_copy(update={"model": "nets"}))


def test_a_name_does_not_come_to_stand_for_something_else(inputs, tmp_path):
    made = inputs("three", "ant", "bee", "cat")
    dataset_of(made)
    register_inputs(made)
    elsewhere = tmp_path / "elsewhere" / made.data.rpartition("/")[2]
    with pytest.raises(RequestError, match="this process audits another audit_"):
        register_inputs(made.model_copy(update={"data": str(elsewhere)}))
    with pytest.raises(RequestError, match="this process audits another audit_"):
        register_inputs(made.model_copy(update={"mean": (0.1, 0.1, 0.1)}))


def test_a_network_of_one_channel_sees_grey_images_as_they_are(inputs):
    made = inputs("grey", "ant", "bee", "cat")
    data = dataset_of(made)
    assert (data.image_shape, data.mean, data.std) == ((1, 8, 8), (0.0,), (0.5,))
    split = data.split("evaluation")
    assert split.images([0]).shape == (1, 1, 8, 8)
    assert split.changes == []
    assert load_victim(made.victim, data).module(split.images([0])).shape == (1, 3)


def test_colours_are_never_dropped_for_a_network_of_one_channel(inputs):
    made = inputs("grey", "0")
    for number in range(4):
        Image.fromarray(np.full((8, 8, 3), (9, 9, 8), dtype=np.uint8)).save(f"{made.data}/0/{number}.png")
    data = dataset_of(made)
    with pytest.raises(DataError, match=r"0/[0-3]\.png has colours, and the network takes grey images"):
        [data.split(role).pixels(range(1)) for role in ("train", "tuning", "evaluation")]
