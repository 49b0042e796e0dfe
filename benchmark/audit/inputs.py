"""What is audited: a function that makes the network, and a folder of images; registered, so that suites know them."""

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import timm
import torch
from pydantic import BaseModel, ConfigDict, Field
from timm.models import register_model
from torch import Tensor, nn

from gradinv.benchmark.datasets import (
    DATASETS,
    DataError,
    Dataset,
    LooseImages,
    find_images,
    loose_dataset,
    loose_split,
    of_channels,
    register_dataset,
)
from gradinv.benchmark.victims import VictimError, VictimSpec, channels_in_words, load_victim, normalise
from gradinv.metrics.image_size import ImageSize, sides
from gradinv.metrics.records import write_text
from gradinv.metrics.registry import RequestError, in_words, load_plugin

PREFIX = "audit_"
"""Of the names under which an audit's network and images are registered: nobody else's begin so."""
_AT_ONCE = 64
Numbers = tuple[Annotated[float, Field(allow_inf_nan=False)], ...]


class Inputs(BaseModel):
    """Where network and images are: `model` as FILE.py:FUNCTION, `data` a folder, both absolute.

    `mean` and `std` normalise images in [0, 1], one number a channel. `weights` is None where the network is taken as
    the function makes it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    data: str
    image_size: ImageSize
    weights: str | None = None
    mean: Numbers = (0.0, 0.0, 0.0)
    std: Numbers = (1.0, 1.0, 1.0)

    @property
    def model_name(self) -> str:
        """The name that suites call the network by."""
        file, _, function = self.model.rpartition(":")
        return f"{PREFIX}{Path(file).stem}_{function}"

    @property
    def data_name(self) -> str:
        """The name that suites call the images by."""
        return PREFIX + Path(self.data).name

    @property
    def labels_are_predicted(self) -> bool:
        """Whether no folder says what an image is, so that the network is asked."""
        return not find_images(Path(self.data)).classes

    @property
    def victim(self) -> VictimSpec:
        """The network as a victim."""
        return VictimSpec(model=self.model_name, state="trained" if self.weights else "untrained", weights=self.weights)

    def write_plugin(self, path: Path) -> None:
        """A plug-in file that registers both, for worker processes and for whoever runs the audit's suite again."""
        text = (
            '"""Written by `gradinv audit`: the network and the images that it audits."""\n\n'
            "from gradinv.benchmark.audit import Inputs, register_inputs\n\n"
            f"register_inputs(Inputs(**{self.model_dump()!r}))\n"
        )
        write_text(path, text)


_known: dict[str, Inputs] = {}
"""What this process knows by which name: a name stands for the same thing until the process ends."""


def register_inputs(inputs: Inputs) -> None:
    """Make network and images known by their names.

    RequestError in one line where either cannot be had, or where a name already stands for something else.
    """
    factory = _factory(inputs.model)
    if _known.setdefault(inputs.model_name, inputs).model != inputs.model:
        raise RequestError(f"--model {inputs.model}: this process audits another {inputs.model_name}; start a new one")
    same = _known.setdefault(inputs.data_name, inputs)
    if (same.data, same.model, same.mean, same.std) != (inputs.data, inputs.model, inputs.mean, inputs.std):
        raise RequestError(f"--data {inputs.data}: this process audits another {inputs.data_name}; start a new one")
    if not timm.is_model(inputs.model_name):
        register_model(_entry(inputs.model_name, factory))
    if inputs.data_name not in DATASETS.names():

        @register_dataset(inputs.data_name)
        def made(image_size: ImageSize | None = None, *, download: bool = False) -> Dataset:
            """The images of the folder."""
            return _dataset(inputs, factory, image_size or inputs.image_size)


def _factory(text: str) -> Callable[[], nn.Module]:
    """The function that `FILE.py:FUNCTION` names."""
    file, colon, function = text.rpartition(":")
    if not (colon and file and function):
        raise RequestError(f"--model {text}: write FILE.py:FUNCTION, a function that makes the network")
    module = load_plugin(Path(file))
    factory = getattr(module, function, None)
    if not callable(factory):
        near = difflib.get_close_matches(function, [n for n, value in vars(module).items() if callable(value)], n=3)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise RequestError(f"--model {text}: {file} has no function {function}{hint}")
    return factory


def _entry(name: str, factory: Callable[[], nn.Module]) -> Callable[..., nn.Module]:
    """The factory as timm calls one: its arguments are timm's and not the function's."""

    def entry(pretrained: bool = False, **_: Any) -> nn.Module:
        return factory()

    # timm registers a factory under the name that the function itself has.
    entry.__name__ = name
    # Its file is the user's, whose hash stands in every record.
    entry.__module__ = factory.__module__
    return entry


def _dataset(inputs: Inputs, factory: Callable[[], nn.Module], size: ImageSize) -> Dataset:
    images = find_images(Path(inputs.data))
    # Grey only where colour is refused; of a network that takes neither `count_outputs` says why it takes no colour.
    channels = 3 if _takes(factory, 3, size) or not _takes(factory, 1, size) else 1
    outputs = count_outputs(factory, inputs.model, (channels, *sides(size)))
    classes, labels = _labelled(images, outputs)
    # Labels are asked of the network only where no folder says them.
    dataset = _normalised(loose_dataset(inputs.data_name, images, labels, classes, size, channels), inputs)
    if images.classes:
        return dataset
    predicted = _predicted(inputs, dataset, images)
    return _normalised(loose_dataset(inputs.data_name, images, predicted, classes, size, channels), inputs)


def _normalised(dataset: Dataset, inputs: Inputs) -> Dataset:
    dataset.mean, dataset.std = (of_channels(values, dataset.channels) for values in (inputs.mean, inputs.std))
    return dataset


def _takes(factory: Callable[[], nn.Module], channels: int, size: ImageSize) -> bool:
    """Whether the network takes images of so many channels."""
    # To make a network draws its weights: whoever draws next must not see that one was made to be asked.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            factory().eval()(torch.zeros(1, channels, *sides(size)))
        except Exception:  # noqa: BLE001 - anybody's code; who asks for its outputs says what was wrong
            return False
    return True


def count_outputs(factory: Callable[[], nn.Module], title: str, image_shape: tuple[int, int, int]) -> int:
    """The number of classes that the network tells apart; VictimError where it cannot take the images."""
    network = None
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            network = factory()
            logits = network.eval()(torch.zeros(1, *image_shape))
        except Exception as error:  # anybody's code
            what = f"--model {title} takes no images of {image_shape[1]} x {image_shape[2]} pixels"
            raise VictimError(f"{what}: {in_words(error)}{_mending(network)}") from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise VictimError(f"--model {title} returns {shape} and not logits (images, classes); wrap it in one that does")
    return int(logits.shape[1])


def _mending(network: object) -> str:
    """How to make the network and the images meet; empty where there is no network."""
    if not isinstance(network, nn.Module):
        return ""
    return channels_in_words(network) or "; if it takes images of another size: --image-size"


def _labelled(images: LooseImages, outputs: int) -> tuple[list[str], list[int]]:
    """The names of the classes, and each file's class as its folder says; 0 for all of a flat folder."""
    folders = images.classes
    numbers = [str(index) for index in range(outputs)]
    if not folders:
        return numbers, [0] * len(images.files)
    if len(folders) == outputs:
        return folders, [folders.index(name) for name in images.folders]
    if set(folders) <= set(numbers):
        return numbers, [int(name) for name in images.folders]
    raise DataError(
        f"{images.root} has {len(folders)} class folders and the network {outputs} outputs; name each folder by the "
        f"number of its output, 0 to {outputs - 1}"
    )


def _predicted(inputs: Inputs, dataset: Dataset, images: LooseImages) -> list[int]:
    """What the network takes each image for; the data set says only what images it will see."""
    loaded = load_victim(inputs.victim, dataset, judged=False)
    split = loose_split(images, [0] * len(images.files), dataset.image_size, dataset.channels)
    labels: list[int] = []
    for start in range(0, len(split), _AT_ONCE):
        places = range(start, min(start + _AT_ONCE, len(split)))
        with torch.no_grad():
            labels += loaded.module(normalise(split.images(places), loaded.mean, loaded.std)).argmax(1).tolist()
    return labels
