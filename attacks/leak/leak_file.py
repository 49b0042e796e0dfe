"""A leak as a file: safetensors, with what is no tensor as JSON beside them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gradinv.attacks.leak.observation import Observation
from gradinv.attacks.leak.threat_model import ThreatModel
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from gradinv.attacks.leak.received import Leak


class LeakError(RequestError):
    """A leak that is not one of the victim's, or a file that holds none; its text names what is wrong."""


Count = Annotated[int, Field(ge=1, le=2**20, strict=True)]
"""No more than any machine attacks: a slip in a file is to be a line, and not to fill the memory."""


class _Metadata(BaseModel):
    """What stands in a leak file beside the tensors, as JSON: docs/leak-file.md says what each field means."""

    model_config = ConfigDict(extra="forbid")

    batch_size: Count
    image_shape: tuple[Count, Count, Count]
    num_classes: Annotated[int, Field(ge=2, le=2**20, strict=True)]
    mean: tuple[Annotated[float, Field(allow_inf_nan=False)], ...]
    std: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]
    names: tuple[str, ...] | None = None
    threat_model: dict[str, Any] = {}
    transform: str = ""
    bn_layers: int | None = None


def write_leak(path: Path, leak: "Leak") -> None:
    """Write a leak to one safetensors file."""
    # safetensors refuses tensors that are not contiguous or share memory; autograd may leave gradients so.
    tensors = {
        f"gradient/{name}": value.clone(memory_format=torch.contiguous_format) for name, value in leak.gradients.items()
    }
    tensors |= {f"buffer/{name}": value.contiguous() for name, value in (leak.buffers or {}).items()}
    tensors |= {f"autoencoder/{name}": value.contiguous() for name, value in (leak.autoencoder or {}).items()}
    for number, observation in enumerate(leak.later, start=2):
        for part, named in (("state", observation.state), ("gradient", observation.gradients)):
            tensors |= {
                f"observation/{number}/{part}/{name}": value.clone(memory_format=torch.contiguous_format)
                for name, value in named.items()
            }
    if leak.labels is not None:
        tensors["labels"] = leak.labels
    if leak.public is not None:
        tensors["public"] = leak.public.contiguous()
    for index, (mean, var) in enumerate(leak.bn_statistics or ()):
        tensors |= {f"bn/{index}/mean": mean.contiguous(), f"bn/{index}/var": var.contiguous()}
    public = {
        # Beside the tensors, because safetensors does not keep their order.
        "names": list(leak.gradients),
        "batch_size": leak.batch_size,
        "image_shape": leak.image_shape,
        "num_classes": leak.num_classes,
        "mean": leak.mean,
        "std": leak.std,
        "threat_model": leak.threat_model.model_dump(),
        "transform": leak.transform,
        # A number, because in the file no statistics (None) and those of no layer (0) look alike.
        "bn_layers": None if leak.bn_statistics is None else len(leak.bn_statistics),
    }
    save_file(tensors, path, metadata={"leak": json.dumps(public)})


def read_leak(path: Path) -> dict[str, Any]:
    """The fields of the Leak that a file holds (docs/leak-file.md); LeakError where a file is no leak."""
    try:
        with safe_open(path, framework="pt") as file:
            public = _Metadata.model_validate_json((file.metadata() or {})["leak"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        return _fields(public, tensors)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise LeakError(
            f"{path} holds no leak ({_reason(error)}); write one with Leak.save, or as docs/leak-file.md says"
        ) from error


def _fields(public: _Metadata, tensors: dict[str, Tensor]) -> dict[str, Any]:
    gradients, buffers = _below("gradient/", tensors), _below("buffer/", tensors)
    autoencoder = _below("autoencoder/", tensors)
    # Counted where there are any; without one only the file can say whether none were granted or there is no layer.
    layers = sum(name.startswith("bn/") for name in tensors) // 2 or public.bn_layers
    statistics = None if layers is None else [(f"bn/{i}/mean", f"bn/{i}/var") for i in range(layers)]
    expected = {name for pair in statistics or () for name in pair} | {"labels", "public"}
    names = public.names or tuple(gradients)
    later = _later(tensors, names)
    known = ("gradient/", "buffer/", "autoencoder/", *(f"observation/{number}/" for number in range(2, 2 + len(later))))
    strange = [name for name in tensors if not name.startswith(known) and name not in expected]
    if strange:
        raise LeakError(f"no tensor of a leak is called {strange[0]}")
    if unlisted := [name for name in gradients if name not in names]:
        raise LeakError(f"names does not list {unlisted[0]}")
    # What is granted by being there, unless the file says otherwise.
    granted = {
        "labels": "known" if "labels" in tensors else "none",
        "bn_statistics": "exact" if statistics else "running",
        "observations": 1 + len(later),
        "auxiliary_images": "train" if autoencoder else "none",
    }
    threat_model = ThreatModel(**granted | public.threat_model)
    if threat_model.observations != 1 + len(later):
        raise LeakError(f"threat_model.observations is {threat_model.observations}, and the file has {1 + len(later)}")
    if autoencoder and threat_model.auxiliary_images == "none":
        raise LeakError("threat_model.auxiliary_images is none, which the tensors autoencoder/ belie")
    return {
        "gradients": {name: tensors[f"gradient/{name}"] for name in names},
        "batch_size": public.batch_size,
        "image_shape": public.image_shape,
        "num_classes": public.num_classes,
        "mean": public.mean,
        "std": public.std,
        "threat_model": threat_model,
        "transform": public.transform,
        "labels": tensors.get("labels"),
        "bn_statistics": None
        if statistics is None
        else tuple((tensors[mean], tensors[var]) for mean, var in statistics),
        "buffers": buffers or None,
        "later": later,
        "autoencoder": autoencoder or None,
        "public": tensors.get("public"),
    }


def _later(tensors: Mapping[str, Tensor], names: Sequence[str]) -> tuple[Observation, ...]:
    """The further observations of a file, from the second on as they go on; KeyError where one lacks a part."""
    observations: list[Observation] = []
    while below := _below(f"observation/{2 + len(observations)}/", tensors):
        place = f"observation/{2 + len(observations)}"
        for name in below:
            part, _, parameter = name.partition("/")
            if part not in ("state", "gradient") or parameter not in names:
                raise LeakError(f"no tensor of a leak is called {place}/{name}")
        parts = [{name: tensors[f"{place}/{part}/{name}"] for name in names} for part in ("state", "gradient")]
        observations.append(Observation(*parts))
    return tuple(observations)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _reason(error: Exception) -> str:
    """Why a file holds no leak, in one line of bounded length."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]  # the others mostly follow from it
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}" if place else f"metadata: {first['msg']}"
    if isinstance(error, KeyError) and not isinstance(error, RequestError):
        name = str(error.args[0])
        return "it has no metadata of the key 'leak'" if name == "leak" else f"the tensor {name} is missing"
    text = str(error) if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:200]
