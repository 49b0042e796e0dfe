"""Weights of one's own: read from a file of tensors, looked for in what training scripts put around them, and loaded.

A network's weights are the dictionary of tensors in the file that fits it, wherever it is nested and whatever stands
before its names. Nothing is guessed: two that fit, and one that fits in part, are refused.
"""

import argparse
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from gradinv.benchmark.victims.networks import VictimError

_EMA = re.compile(r"(^|[._/])ema([._/]|$)")
_WRAPPING = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Names that torch's wrappers put between others, and that no module chooses."""
_DEEPEST = 6
"""Dictionaries inside one another that are looked through; no training script nests as many."""
_SHOWN = 3
_BEGINNINGS = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"version https://git-lfs": "a pointer of Git LFS and not the file; run `git lfs pull`",
    b"<": "a web page",
}


@dataclass(frozen=True)
class _Candidate:
    """A dictionary of tensors by names of the network's kind, and its place: keys on the way, then a common prefix."""

    place: str
    tensors: dict[str, Tensor]
    others: int

    @property
    def is_ema(self) -> bool:
        """Whether its place calls it an exponential moving average."""
        return _EMA.search(self.place) is not None

    @property
    def title(self) -> str:
        """Its place in words."""
        return self.place or "the whole file"


def load_weights(module: nn.Module, path: Path, *, title: str, num_classes: int) -> str:
    """Fill a network from a weight file; returns what was taken from it, in words.

    `title` and `num_classes` are for what is said. What torch's strict loading accepts is accepted. Raises VictimError
    in one line where the file is none of tensors, where nothing or more than one thing in it fits, or where a weight is
    not finite.
    """
    # All places are looked at before one is chosen: a file with two that fit is ambiguous, and the first is no answer.
    candidates = list(_candidates(_read(path), module))
    if not candidates:
        raise VictimError(f"weight file {path} holds no dictionary of tensors; save a state_dict")
    fitting = [candidate for candidate in candidates if not _faults(module, candidate.tensors)]
    chosen = _chosen(fitting, path) if fitting else max(candidates, key=lambda c: _in_common(module, c.tensors))
    try:
        module.load_state_dict(chosen.tensors)
    except RuntimeError as error:
        raise VictimError(_refusal(module, chosen, path, title, num_classes)) from error
    not_finite = [name for name, value in module.state_dict().items() if not bool(torch.isfinite(value).all())]
    if not_finite:
        raise VictimError(f"weight file {path}: {_listed(not_finite)} is not finite (NaN or infinity)")
    return _said(chosen, fitting)


def _said(chosen: _Candidate, fitting: list[_Candidate]) -> str:
    """What was taken and what was left."""
    parts = [f"{chosen.title} ({'EMA, ' if chosen.is_ema else ''}{len(chosen.tensors)} tensors)"]
    left = [f"{other.title}{' (EMA)' * other.is_ema}" for other in fitting if other is not chosen]
    parts += [f"left {', '.join(left)}"] if left else []
    parts += [f"left {chosen.others} other tensors beside it"] if chosen.others else []
    return "; ".join(parts)


def _chosen(fitting: list[_Candidate], path: Path) -> _Candidate:
    """The weights as they were trained before their moving average; VictimError where there are two of a kind."""
    # The update is computed under the weights that are trained, and not under their moving average.
    first = [candidate for candidate in fitting if not candidate.is_ema] or fitting
    same = all(_equal(first[0].tensors, other.tensors) for other in first[1:])
    if not same:
        titles = ", ".join(candidate.title for candidate in first)
        raise VictimError(f"weight file {path} holds several weights that fit: {titles}; save one of them alone")
    return first[0]


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _read(path: Path) -> Any:
    """What the file holds; read with `weights_only=True`, so that no pickle can run code."""
    begin = _beginning(path)
    try:
        # By content: a file under a wrong suffix is read for what it is.
        # A safetensors file begins with the length of its header, eight bytes, and the header, which is JSON.
        if begin[8:9] == b"{" and int.from_bytes(begin[:8], "little") < path.stat().st_size:
            return load_file(path)
        # Training scripts keep their options beside the weights, as one object without behaviour.
        with path.open("rb") as file, torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise VictimError(f"weight file {path} is no file of tensors: {_reason(path, begin, error)}") from error


def _beginning(path: Path) -> bytes:
    """The first bytes of a regular file that is not empty; VictimError where there is none."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise VictimError(f"weight file {path} is a folder; name the file in it")
        if not stat.S_ISREG(mode):
            raise VictimError(f"weight file {path} is no regular file")
        with path.open("rb") as file:
            begin = file.read(64)
    except FileNotFoundError as error:
        raise VictimError(f"weight file {path} does not exist") from error
    except OSError as error:
        raise VictimError(f"weight file {path} cannot be read: {error.strerror}") from error
    if not begin:
        raise VictimError(f"weight file {path} is empty")
    return begin


def _reason(path: Path, begin: bytes, error: Exception) -> str:
    """Why it cannot be read. Never torch's own words, which advise to read it without `weights_only`."""
    for beginning, title in _BEGINNINGS.items():
        if begin.startswith(beginning):
            return f"it is {title}"
    text = str(error)
    if begin.startswith(b"PK") and not zipfile.is_zipfile(path):
        return "it is truncated or damaged"
    if "TorchScript" in text:
        return "it is a TorchScript archive; save its state_dict"
    unsupported = re.search(r"GLOBAL ([\w.]+)", text)
    if unsupported:
        return f"it holds an object of {unsupported[1]}; save the state_dict alone"
    if "weights_only" in text or "Weights only" in text:
        return "it holds more than tensors, or is damaged; save the state_dict alone"
    return f"it is damaged or of another format ({type(error).__name__})"


def _candidates(content: Any, module: nn.Module) -> Iterator[_Candidate]:
    """Every dictionary of tensors in a file, under every prefix after which its names are the network's."""
    expected = module.state_dict()
    for place, tensors in _dictionaries(content, ()):
        for prefix in _prefixes(tensors, expected):
            inside = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            others = len(tensors) - len(inside)
            yield _Candidate("/".join((*place, prefix.rstrip("."))).strip("/"), inside, others)


def _dictionaries(content: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    if not isinstance(content, Mapping) or len(place) > _DEEPEST:
        return
    tensors = {_unwrapped(key): value for key, value in content.items() if _is_weight(key, value)}
    if tensors:
        yield place, tensors
    for key, value in content.items():
        yield from _dictionaries(value, (*place, str(key)))


def _is_weight(key: Any, value: Any) -> bool:
    return isinstance(key, str) and isinstance(value, Tensor)


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPING)


def _prefixes(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """What stands before names of the network, most frequent first; nothing where none is the network's.

    >>> _prefixes({"module.fc.weight": torch.ones(1), "module.fc.bias": torch.ones(1)}, {"fc.weight": torch.ones(1)})
    ['module.']
    """
    counts: dict[str, int] = {}
    for name in tensors:
        parts = name.split(".")
        # Every beginning is tried, so that `module.`, `model.`, `student.backbone.` need no list of wrappers.
        for start in range(len(parts)):
            if ".".join(parts[start:]) in expected:
                prefix = "".join(f"{part}." for part in parts[:start])
                counts[prefix] = counts.get(prefix, 0) + 1
    # Where no name is the network's the whole is tried, so that a message can say what is missing.
    return sorted(counts, key=lambda prefix: -counts[prefix]) or [""]


def _faults(module: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Kinds of faults, each with its names and shapes; none where strict loading accepts the tensors."""
    expected = module.state_dict()
    # Counters that PyTorch's batch norm did not have once; strict loading fills them in.
    missing = [name for name in expected if name not in tensors and not name.endswith("num_batches_tracked")]
    unknown = [f"{name} {_shape(value)}" for name, value in tensors.items() if name not in expected]
    misshapen = [
        f"{name} {_shape(tensors[name])} for {_shape(expected[name])}" for name in _misshapen(expected, tensors)
    ]
    kinds = {
        "missing": [f"{name} {_shape(expected[name])}" for name in missing],
        "unknown": unknown,
        "misshapen": misshapen,
    }
    return [f"{kind} {_listed(names)}" for kind, names in kinds.items() if names]


def _misshapen(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    shared = [name for name in expected if name in tensors]
    # One number may stand as (1,): so did old files, and strict loading takes them.
    return [
        name
        for name in shared
        if expected[name].shape != tensors[name].shape
        and not (expected[name].ndim == 0 and tuple(tensors[name].shape) == (1,))
    ]


def _in_common(module: nn.Module, tensors: Mapping[str, Tensor]) -> int:
    expected = module.state_dict()
    return sum(name in tensors and tensors[name].shape == value.shape for name, value in expected.items())


def _refusal(module: nn.Module, chosen: _Candidate, path: Path, title: str, num_classes: int) -> str:
    classes = _other_classes(module, chosen.tensors, num_classes)
    if classes is not None:
        return (
            f"weight file {path} knows {classes} classes and {title} has {num_classes}; take the data set whose "
            "classes it knows"
        )
    faults = "; ".join(_faults(module, chosen.tensors)) or "torch refuses it"
    place = f" ({chosen.place})" if chosen.place else ""
    return f"weight file {path}{place} does not fit {title}: {faults}"


def _other_classes(module: nn.Module, tensors: Mapping[str, Tensor], num_classes: int) -> int | None:
    """The number of classes that the tensors are for, where that is all that differs."""
    expected = module.state_dict()
    differing = _misshapen(expected, tensors)
    if not differing or any(not fault.startswith("misshapen") for fault in _faults(module, tensors)):
        return None
    pairs = [(tuple(expected[name].shape), tuple(tensors[name].shape)) for name in differing]
    classes = {given[0] for _, given in pairs if given}
    is_head = all(shape[:1] == (num_classes,) and given[1:] == shape[1:] for shape, given in pairs)
    return int(classes.pop()) if is_head and len(classes) == 1 else None


def _shape(value: Tensor) -> str:
    return str(tuple(value.shape))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
