"""What is here and what is not."""

import importlib.metadata
import platform

import torch
from gradinv.benchmark.datasets import dataset_names
from gradinv.benchmark.machine import cache_root, data_root, usable_cores
from gradinv.metrics.images.scoring import METRICS, MetricUnavailable

PACKAGES = ("gradinv", "torch", "torchvision", "timm", "lpips", "torchmetrics", "kornia", "scipy", "scikit-image")


def report() -> list[str]:
    """Lines on the machine, the versions, the data sets, the trained victims and the metrics' weights."""
    return [
        f"python       {platform.python_version()} on {platform.machine()}, {usable_cores()} cores",
        *(f"{name:12} {importlib.metadata.version(name)}" for name in PACKAGES),
        f"cuda         {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'}",
        f"data         {data_root()} (GRADINV_DATA): {', '.join(dataset_names())}",
        f"victims      {len(list((cache_root() / 'victims').glob('*.safetensors')))} trained, in {cache_root()}",
        *(_metric(name) for name in METRICS.names()),
    ]


def _metric(name: str) -> str:
    entry = METRICS.get(name)
    size = max(64, entry.metadata["min_size"])
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        entry.target(image, image)
    except MetricUnavailable as error:
        return f"metric       {name}: not available: {error}"
    return f"metric       {name}: available"
