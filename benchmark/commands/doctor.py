"""What is here and what is not."""

import importlib.metadata
import platform

import torch

from gradinv.benchmark.datasets import create_dataset, dataset_names
from gradinv.benchmark.machine import autoencoders_root, data_root, usable_cores, victims_root
from gradinv.benchmark.victims import PACKAGED, pretrained_source
from gradinv.metrics.images import METRICS, ScoredBatch, score_batch
from gradinv.metrics.registry import RequestError, in_words
from gradinv.metrics.typesetting import counted

PACKAGES = ("gradinv", "torch", "torchvision", "timm", "lpips", "torchmetrics", "scipy", "scikit-image")
MISSING = "not here: pip install gradinv[pretrained]"


def machine_facts() -> list[str]:
    """Lines on the machine, the versions, the data sets, the victims and their weights, and the metrics'."""
    return [
        f"python       {platform.python_version()} on {platform.machine()}, {usable_cores()} cores",
        *(f"{name:12} {importlib.metadata.version(name)}" for name in PACKAGES),
        f"cuda         {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'}",
        f"data root    {data_root()} (GRADINV_DATA)",
        *(f"data         {name}: {_data(name)}" for name in dataset_names()),
        f"victims      {len(list(victims_root().glob('*.safetensors')))} trained, in {victims_root()}",
        f"autoencoders {len(list(autoencoders_root().glob('*.safetensors')))} trained, in {autoencoders_root()}",
        *(f"pretrained   {model}: {pretrained_source(model) or MISSING}" for model in PACKAGED),
        *(_metric(name) for name in METRICS.names()),
    ]


def _data(name: str) -> str:
    """Whether a data set can be had: the name of a registered one says nothing of its files."""
    try:
        images = len(create_dataset(name, None).split("evaluation"))
    except RequestError as error:
        return f"not here: {error}"
    return f"{counted(images, 'image')} to attack"


def _metric(name: str) -> str:
    if METRICS.constants(name).get("needs_pool"):
        return f"metric       {name}: available (in trials, among the photographs of their data set)"
    # The metric is run, because weights that it must download show only then that they are missing.
    try:
        size = max(64, METRICS.get(name).metadata["min_size"])
        image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        labels = torch.zeros(1, dtype=torch.int64)
        notes = score_batch(ScoredBatch(image, image, labels, labels), [name]).notes
    except Exception as error:  # noqa: BLE001 - of another package, which may raise anything; the others are still asked
        notes = (in_words(error),)
    return f"metric       {name}: " + (f"not available: {notes[0].removeprefix(f'{name}: ')}" if notes else "available")
