"""Weight files: what training scripts write is read, what was taken is said, everything else is one line."""

import argparse
import os
import pickle
import re
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gradinv.benchmark.victims.checkpoints import load_weights
from gradinv.benchmark.victims.loading import load_victim, weights_hash
from gradinv.benchmark.victims.networks import VictimError, build_network
from gradinv.benchmark.victims.spec import VictimSpec

CLASSES = 4


def network(seed: int = 0, classes: int = CLASSES) -> nn.Module:
    return build_network("test_resnet", num_classes=classes, image_size=32, seed=seed)


@pytest.fixture(scope="module")
def trained() -> dict[str, Tensor]:
    """Weights that no network is built with, as plain tensors."""
    state = network(seed=7).state_dict()
    return {name: value.clone() for name, value in state.items()}


def taken_from(path: Path, module: nn.Module) -> str:
    return load_weights(module, path, title="test_resnet on tiny", num_classes=CLASSES)


def refusal(path: Path) -> str:
    with pytest.raises(VictimError) as caught:
        taken_from(path, network())
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    assert "weights_only" not in line
    return line


def prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in tensors.items()}


def without(tensors: dict[str, Tensor], ending: str) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if not name.endswith(ending)}


def halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value / 2 if value.is_floating_point() else value for name, value in tensors.items()}


WRAPPED = {
    "plain": (lambda t: t, "the whole file (92 tensors)"),
    "ordered": (OrderedDict, "the whole file"),
    "parameters": (lambda t: {n: nn.Parameter(v) if v.is_floating_point() else v for n, v in t.items()}, "the whole"),
    "state_dict": (lambda t: {"state_dict": t, "epoch": 3}, "state_dict ("),
    "model": (lambda t: {"model": t}, "model ("),
    "model_state_dict": (lambda t: {"model_state_dict": t, "loss": 0.1}, "model_state_dict ("),
    "one in the other": (lambda t: {"checkpoint": {"model": {"state_dict": t}}}, "checkpoint/model/state_dict ("),
    "parallel": (lambda t: prefixed("module.", t), "module ("),
    "compiled and parallel": (lambda t: {"net": prefixed("module._orig_mod.", t)}, "net/module ("),
    "compiled inside": (lambda t: {n.replace("layer1.", "layer1._orig_mod."): v for n, v in t.items()}, "the whole"),
    "lightning": (
        lambda t: {"state_dict": prefixed("model.", t) | {"loss.weight": torch.ones(3)}, "hyper_parameters": {}},
        "state_dict/model (",
    ),
    "timm": (lambda t: {"state_dict": t, "args": argparse.Namespace(lr=0.1), "arch": "x"}, "state_dict ("),
    "with an optimizer": (
        lambda t: {"optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}, "model": t},
        "model (",
    ),
    "with a moving average": (
        lambda t: {"state_dict_ema": halved(t), "state_dict": t},
        "state_dict (92 tensors); left state_dict_ema (EMA)",
    ),
    "a moving average beside it": (
        lambda t: prefixed("model.", t) | prefixed("ema.module.", halved(t)),
        "left ema.module (EMA)",
    ),
    "a moving average alone": (lambda t: {"model_ema": t}, "model_ema (EMA, 92 tensors)"),
    "without counters": (lambda t: without(t, "num_batches_tracked"), "the whole file"),
    "half precision": (lambda t: {n: v.half().float().half() for n, v in t.items()}, "the whole file"),
    "the same twice": (lambda t: {"model": t, "weights": dict(t)}, "model ("),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_what_training_scripts_write_is_read_and_said(trained, tmp_path, kind: str) -> None:
    wrap, said = WRAPPED[kind]
    path = tmp_path / "checkpoint.pth"
    torch.save(wrap(trained), path)
    module = network()
    taken = taken_from(path, module)
    assert said in taken
    assert ("EMA" in taken) == ("moving average" in kind)
    rounded = "half" in kind
    for name, value in module.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            expected = trained[name].half().to(value) if rounded else trained[name]
            assert torch.equal(value, expected), name


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin"])
@pytest.mark.parametrize("write", [save_file, torch.save], ids=["safetensors", "torch"])
def test_the_content_decides_and_not_the_suffix(trained, tmp_path, suffix: str, write) -> None:
    path, module = tmp_path / f"weights{suffix}", network()
    write(trained, path)
    taken_from(path, module)
    assert torch.equal(module.fc.weight, trained["fc.weight"])


def test_what_strict_loading_accepts_is_accepted(trained, tmp_path) -> None:
    old = without(trained, "num_batches_tracked")
    old["conv1.1.num_batches_tracked"] = torch.ones(1, dtype=torch.int64)  # one number, as files of PyTorch 0.3 have it
    network().load_state_dict(old)
    torch.save(old, tmp_path / "old.pth")
    taken_from(tmp_path / "old.pth", network())


def one_shorter(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name != "conv1.0.weight"}


DIFFERING = {
    "missing": (one_shorter, r"does not fit test_resnet on tiny: missing conv1\.0\.weight \(16, 3, 3, 3\)$"),
    "unknown": (lambda t: t | {"extra": torch.ones(2, 3)}, r"unknown extra \(2, 3\)$"),
    "misshapen": (
        lambda t: t | {"conv1.0.weight": torch.ones(1, 3, 3, 3)},
        r"misshapen conv1.0.weight \(1, 3, 3, 3\) for \(",
    ),
    "another network": (
        lambda t: {f"blocks.{i}.weight": torch.ones(i + 1) for i in range(9)},
        "missing .* more; unknown",
    ),
    "in a wrapper": (lambda t: {"model": one_shorter(t)}, r"pth \(model\) does not fit .*missing conv1"),
    "other classes": (lambda t: network(classes=9).state_dict(), "knows 9 classes and test_resnet on tiny has 4"),
    "two that fit": (
        lambda t: {"student": t, "teacher": halved(t)},
        "several weights that fit: student, teacher; save one",
    ),
    "not finite": (lambda t: t | {"fc.bias": torch.full((4,), torch.nan)}, r"fc\.bias is not finite \(NaN"),
    "a list": (lambda t: list(t.values()), "holds no dictionary of tensors"),
    "numbers": (lambda t: {"lr": 0.1, "nested": {"epoch": 3}}, "holds no dictionary of tensors"),
    "empty": (lambda t: {}, "holds no dictionary of tensors"),
}


@pytest.mark.parametrize("kind", DIFFERING)
def test_what_does_not_fit_is_named_with_its_shapes(trained, tmp_path, kind: str) -> None:
    change, line = DIFFERING[kind]
    path = tmp_path / "weights.pth"
    torch.save(change(dict(trained)), path)
    assert re.search(line, refusal(path))


class Bomb:
    """An object whose unpickling leaves a trace."""

    def __reduce__(self):
        return (exec, ("import builtins; builtins.victim_exploded = True",))


def _torch_file(path: Path, content: object) -> bytes:
    torch.save(content, path)
    return path.read_bytes()


def _script(path: Path) -> bytes:
    torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).save(str(path))
    return path.read_bytes()


BROKEN = {
    "empty": (lambda path: b"", "is empty"),
    "a picture": (lambda path: b"\x89PNG\r\n\x1a\n" + bytes(99), "it is a PNG picture"),
    "a web page": (lambda path: b"<!DOCTYPE html><html></html>", "it is a web page"),
    "a git pointer": (lambda path: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "keras": (lambda path: b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file"),
    "text": (lambda path: b"nothing of the kind", "damaged or of another format|more than tensors"),
    "zeros": (lambda path: bytes(1000), "damaged or of another format|more than tensors"),
    "truncated": (lambda path: _torch_file(path, {"a": torch.ones(1000)})[:2000], "truncated or damaged"),
    "truncated safetensors": (lambda path: _safe(path)[:300], "damaged or of another format"),
    "a whole model": (
        lambda path: _torch_file(path, nn.Linear(2, 2)),
        r"an object of torch\.nn\..*Linear; save the state",
    ),
    "code": (lambda path: _torch_file(path, {"state_dict": Bomb()}), r"an object of .*exec; save the state_dict alone"),
    "a bare pickle": (lambda path: pickle.dumps(Bomb()), "is no file of tensors"),
    "a script": (_script, "TorchScript archive; save its state_dict"),
}


def _safe(path: Path) -> bytes:
    save_file({"a": torch.ones(1000), "b": torch.ones(3)}, path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_one_line_with_its_path(tmp_path, kind: str) -> None:
    make, line = BROKEN[kind]
    path = tmp_path / "weights.pth"
    path.write_bytes(make(path))
    assert re.search(line, refusal(path))
    assert not hasattr(__import__("builtins"), "victim_exploded")


def test_what_is_no_file_is_one_line_with_its_path(tmp_path) -> None:
    folder, nothing, pipe = (tmp_path / name for name in ("folder.pth", "nothing.pth", "pipe.pth"))
    folder.mkdir()
    os.mkfifo(pipe)
    assert "is a folder; name the file in it" in refusal(folder)
    assert "does not exist" in refusal(nothing)
    assert "is no regular file" in refusal(pipe)


def test_a_victim_says_what_it_took_how_it_normalises_and_how_accurate_it_is(make_dataset, trained, tmp_path) -> None:
    path, dataset = tmp_path / "mine.pth", make_dataset(size=32)
    torch.save({"state_dict": trained}, path)
    given = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    spec = VictimSpec(model="test_resnet", state="trained", weights=str(path))
    plain = load_victim(spec, dataset)
    own = load_victim(spec.model_copy(update=given), dataset)
    assert plain.source.startswith("mine.pth: state_dict (92 tensors); normalised by mean 0.485, 0.456, 0.406 and std")
    assert plain.source.endswith("the data set's")
    assert own.source.endswith("mean 0.5, 0.4, 0.3 and std 0.2, 0.3, 0.4, as given")
    assert (own.mean, own.std) == (given["mean"], given["std"])
    assert (plain.mean, plain.std) == (dataset.mean, dataset.std)
    module, split = network(), dataset.split("tuning")
    module.load_state_dict(trained)
    images = (split.images(range(len(split))) - torch.tensor(own.mean).view(3, 1, 1)) / torch.tensor(own.std).view(
        3, 1, 1
    )
    with torch.no_grad():
        expected = (module(images).argmax(1) == torch.from_numpy(split.labels)).double().mean().item()
    assert own.accuracy == pytest.approx(expected)
    assert own.weights_hash == plain.weights_hash == weights_hash(module)


def test_a_wrong_order_of_classes_shows_in_the_accuracy(make_dataset, tmp_path) -> None:
    dataset = make_dataset(size=16)
    spec = VictimSpec(model="test_resnet", state="trained", epochs=4)
    right = load_victim(spec, dataset, progress=False)
    state = right.module.state_dict()
    reordered = {name: value.roll(1, 0) if name.startswith("fc.") else value for name, value in state.items()}
    accuracies = []
    for tensors in (state, reordered):
        save_file({name: value.clone() for name, value in tensors.items()}, tmp_path / "mine.safetensors")
        foreign = VictimSpec(model="test_resnet", state="trained", weights=str(tmp_path / "mine.safetensors"))
        accuracies.append(load_victim(foreign, dataset).accuracy)
    assert accuracies[0] > 0.7
    assert accuracies[1] < 0.3


def test_a_cached_victim_without_its_facts_is_one_line(make_dataset) -> None:
    dataset, spec = make_dataset(), VictimSpec(model="test_resnet", state="trained", epochs=1)
    load_victim(spec, dataset, progress=False)
    (facts,) = Path(os.environ["GRADINV_CACHE"]).rglob("*.json")
    facts.write_text("{")
    with pytest.raises(VictimError, match=r"does not say how the victim was trained; delete .* to train it again"):
        load_victim(spec, dataset)
    assert load_file(facts.with_suffix(".safetensors"))
