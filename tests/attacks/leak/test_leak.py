"""The Leak is all that an attack sees: written, read back and attacked in a process without the data, the same bits."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from gradinv.attacks.attack import Conditions
from gradinv.attacks.leak import Leak, LeakError, Observation, ThreatModel
from gradinv.attacks.registry import ATTACKS, create_attack
from gradinv.attacks.victim import Victim, bn_layers
from gradinv.benchmark.victims.networks import build_network

SEED, BUDGET, CLASSES, SIZE = 4, 12, 6, 16
STEPS = "weight_update[lr=0.003]"
WIRES = {
    "lenet": ("lenet_dlg", 2, "gradient"),
    "resnet": ("test_resnet", 2, "gradient"),
    "mlp": ("mlp_cpa", 1, "gradient"),
    "vit": ("vit_april", 1, "gradient"),
    "convolutions": ("cnn3_rgap", 1, "gradient"),
    "steps": ("lenet_dlg", 2, STEPS),
}
"""Victim, images in its batch and what it sends; an attack gets the first one that it is possible on."""

ATTACKER = """
import json, sys
from pathlib import Path
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from gradinv.attacks.leak import Leak
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim
from gradinv.benchmark.victims.networks import build_network

torch.set_num_threads(1)
home, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])
for key, wire, model, seed, budget, classes, size in jobs:
    module = build_network(model, num_classes=classes, image_size=size, seed=12345, untrained=True)
    module.load_state_dict(load_file(home / f"{wire}.safetensors"))
    leak = Leak.load(home / f"{wire}.leak")
    victim = Victim(module, update=leak.threat_model.update)
    found = create_attack(key).reconstruct(leak, victim, seed=seed, budget=budget)
    save_file({"images": found.images, "final": found.final, "labels": found.labels}, home / f"{key}.result")
private = ("gradinv.benchmark.datasets", "gradinv.benchmark.experiment.client", "skimage")
assert not any(name.startswith(private) for name in sys.modules)
"""


@lru_cache
def wire_for(name: str) -> str:
    """The first victim and update that the attack is possible on."""
    for wire, (model, batch, update) in WIRES.items():
        module = build_network(model, num_classes=CLASSES, image_size=SIZE)
        conditions = Conditions(
            ThreatModel(bn_statistics="exact", update=update),
            batch_size=batch,
            num_classes=CLASSES,
            bn_layers=len(bn_layers(module)),
            trained=False,
            image_size=SIZE,
            network=module,
        )
        if create_attack(name).reason_to_skip(conditions) is None:
            return wire
    raise AssertionError(f"{name} is possible on none of {', '.join(WIRES)}")


@pytest.fixture(scope="module")
def results(build: Callable, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict, dict[str, Tensor]]]:
    """Of every registered attack: what it reconstructs here, and what it does in one fresh process."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("wire")
    here = {}
    wires = {name: wire_for(name) for name in ATTACKS.names()}
    jobs = [[name, wire, WIRES[wire][0], SEED, BUDGET, CLASSES, SIZE] for name, wire in wires.items()]
    for wire, (model, batch, update) in WIRES.items():
        module = build(model, classes=CLASSES, size=SIZE)
        leak = real_leak(module, batch, update)
        save_file(module.state_dict(), home / f"{wire}.safetensors")
        leak.save(home / f"{wire}.leak")
        for name in (name for name, chosen in wires.items() if chosen == wire):
            victim = Victim(module, update=update)
            here[name] = create_attack(name).reconstruct(leak, victim, seed=SEED, budget=BUDGET)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRADINV_")}
    command = [sys.executable, "-c", ATTACKER, str(home), json.dumps(jobs)]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: (dataclasses.asdict(found), load_file(home / f"{name}.result")) for name, found in here.items()}


def real_leak(module: torch.nn.Module, batch: int, update: str) -> Leak:
    """Known labels and exact statistics of one or two images; a gradient by plain autograd."""
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))[:batch]
    labels = torch.tensor([4, 1])[:batch]
    named = dict(module.named_parameters())
    loss = torch.nn.functional.cross_entropy(module(images), labels)
    gradients = torch.autograd.grad(loss, list(named.values()))
    if update != "gradient":
        gradients = [value.detach() for value in Victim(module, update=update).update(images, labels)]
    statistics = Victim(module).bn_statistics(images)
    return Leak(
        gradients=dict(zip(named, gradients, strict=True)),
        batch_size=batch,
        image_shape=(3, SIZE, SIZE),
        num_classes=CLASSES,
        mean=(0.485, 0.456, 1 / 3),
        std=(0.229, 0.224, 0.1),
        threat_model=ThreatModel(bn_statistics="exact", update=update),
        labels=labels,
        bn_statistics=statistics or None,
    )


@pytest.mark.parametrize("name", ATTACKS.names())
def test_a_fresh_process_without_the_data_gives_the_same_bits(results: dict, name: str) -> None:
    here, there = results[name]
    assert set(there) == {"images", "final", "labels"}
    for field, value in there.items():
        assert torch.equal(value, here[field]), field
    is_last = not here["curve"] or here["objective_end"] == here["curve"][-1][1]  # a closed form has no curve
    assert not torch.equal(there["images"], there["final"]) or is_last


def test_every_kind_of_victim_is_attacked() -> None:
    assert {wire_for(name) for name in ATTACKS.names()} == set(WIRES)
    assert wire_for("gradinversion") == "resnet"


def assert_equal(left: object, right: object) -> None:
    """Equal to the bit and to the type, through tuples and dictionaries."""
    assert type(left) is type(right)
    if isinstance(left, Tensor):
        assert left.dtype == right.dtype
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert list(left) == list(right)
        assert_equal(tuple(left.values()), tuple(right.values()))
    elif isinstance(left, tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_equal(a, b)
    else:
        assert left == right


@pytest.mark.parametrize("granted", ["none", "counts", "known"])
@pytest.mark.parametrize("statistics", ["none", "running", "exact"])
def test_a_leak_survives_the_disk(case: Callable, tmp_path: Path, granted: str, statistics: str) -> None:
    leak, _ = case(granted=granted, statistics=statistics)
    leak.save(tmp_path / "leak")
    loaded = Leak.load(tmp_path / "leak")
    for field in dataclasses.fields(Leak):
        assert_equal(getattr(loaded, field.name), getattr(leak, field.name))
    assert loaded.shape == (2, 3, 6, 6)


def test_tensors_of_any_memory_layout_survive_the_disk(case: Callable, tmp_path: Path) -> None:
    leak, _ = case()
    gradients = {name: value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
                 for name, value in leak.gradients.items()}  # fmt: skip
    gradients["head.weight"] = gradients["head.weight"].T.contiguous().T
    dataclasses.replace(leak, gradients=gradients).save(tmp_path / "leak")
    assert_equal(Leak.load(tmp_path / "leak").gradients, leak.gradients)


def test_no_statistics_of_a_network_without_batch_norm_stay_none(case: Callable, tmp_path: Path) -> None:
    leak, _ = case(bn=False, statistics="none")
    dataclasses.replace(leak, bn_statistics=None).save(tmp_path / "leak")
    assert Leak.load(tmp_path / "leak").bn_statistics is None


def test_to_moves_everything(case: Callable) -> None:
    leak, _ = case()
    moved = leak.to(torch.device("meta"))
    tensors = [*moved.gradients.values(), moved.labels, *(value for pair in moved.bn_statistics for value in pair)]
    assert all(value.device.type == "meta" for value in tensors)
    none, _ = case(granted="none", statistics="none")
    assert none.to(torch.device("cpu")).labels is None
    assert none.to(torch.device("cpu")).bn_statistics is None


@pytest.mark.parametrize(
    "wrong", [{"labels": "some"}, {"bn_mode": "off"}, {"max_equal_labels": 0}, {"adaptive": "perhaps"}, {"colour": 1}]
)
def test_a_threat_model_refuses_what_it_does_not_know(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        ThreatModel(**wrong)


WRONG = {
    "missing": (lambda g: {n: v for n, v in g.items() if n != "head.bias"}, "head.bias is missing"),
    "unknown": (lambda g: g | {"other": torch.ones(2)}, "other is no parameter that the victim trains"),
    "one channel": (
        lambda g: g | {"first.weight": g["first.weight"][:, :1]},
        r"first\.weight is \(5, 1, 3, 3\) float32 and not \(5, 3, 3, 3\) float32",
    ),
    "another type": (lambda g: g | {"head.bias": g["head.bias"].double()}, r"head\.bias is \(5,\) float64 and not"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("name", ["dlg", "inverting_gradients"])
def test_another_networks_gradients_are_one_line_and_never_broadcast(case: Callable, kind: str, name: str) -> None:
    leak, victim = case(bn=False, statistics="none")
    change, line = WRONG[kind]
    wrong = dataclasses.replace(leak, gradients=change(leak.gradients), bn_statistics=None)
    with pytest.raises(LeakError, match=line) as caught:
        create_attack(name).reconstruct(wrong, victim, seed=0, budget=3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"labels": torch.tensor([0, 9])}, "the labels are not 2 class indices below 5"),
        ({"labels": torch.tensor([1])}, "the labels are not 2 class indices"),
        ({"bn_statistics": ((torch.zeros(1), torch.ones(1)),) * 2}, "statistics are not those of the victim's layers"),
        ({"mean": (0.5,)}, "mean and std are not 3 numbers each"),
    ],
)
def test_what_stands_beside_the_gradients_is_compared_too(case: Callable, changes: dict, line: str) -> None:
    leak, victim = case()
    victim.require_fit(leak)
    with pytest.raises(LeakError, match=line):
        victim.require_fit(dataclasses.replace(leak, **changes))


@pytest.mark.parametrize("content", [None, b"", b"nothing", "tensors"])
def test_a_file_without_a_leak_is_one_line_with_its_path(tmp_path: Path, content: object) -> None:
    path = tmp_path / "leak"
    if content == "tensors":
        save_file({"a": torch.ones(1)}, path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(LeakError, match=r"leak holds no leak \(.*\); write one with Leak\.save") as caught:
        Leak.load(path)
    assert "\n" not in str(caught.value)


def test_later_observations_survive_a_file_and_must_be_whole(build: Callable, tmp_path: Path) -> None:
    module = build("lenet_dlg", classes=CLASSES, size=SIZE)
    leak = real_leak(module, 2, "gradient")
    later = Observation({n: p.detach() + 1 for n, p in module.named_parameters()}, leak.gradients)
    grants = leak.threat_model.model_copy(update={"observations": 3})
    path = tmp_path / "rounds.safetensors"
    dataclasses.replace(leak, threat_model=grants, later=(later, later)).save(path)
    read = Leak.load(path)
    assert read.observations == read.threat_model.observations == 3
    for each in read.later:
        for mine, saved in ((each.state, later.state), (each.gradients, later.gradients)):
            assert list(mine) == list(saved)
            assert all(torch.equal(mine[name], saved[name]) for name in mine)
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    name = next(iter(leak.gradients))
    lacking = {key: value for key, value in tensors.items() if key != f"observation/3/state/{name}"}
    strange = tensors | {"observation/5/state/x": torch.zeros(1)}
    for changed, said in (
        (lacking, f"observation/3/state/{name} is missing"),
        (strange, "called observation/5/state/x"),
    ):
        save_file(changed, path, metadata=facts)
        with pytest.raises(LeakError, match=said):
            Leak.load(path)
    dataclasses.replace(leak, threat_model=grants).save(path)
    with pytest.raises(LeakError, match="observations is 3, and the file has 1"):
        Leak.load(path)
