"""A client of one's own: its leak file, written without the project, is attacked like the built-in client's."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gradinv.attacks.gradient_matching import Objective
from gradinv.attacks.leak import Leak, ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets.batches import Batch
from gradinv.benchmark.defenses.none import NoDefense
from gradinv.benchmark.experiment.client import client_update, observe
from gradinv.benchmark.experiment.leak_attack import Originals, attack_leak, scores_of
from gradinv.benchmark.experiment.leak_check import consistency
from gradinv.benchmark.experiment.leak_file import load_own_victim, read_leak, receive
from gradinv.benchmark.victims.networks import build_network
from gradinv.benchmark.victims.normalisation import normalise
from gradinv.benchmark.victims.spec import VictimSpec

PAGE = Path(__file__).parents[3] / "docs" / "leak-file.md"
ATTACK, SEED, BUDGET = "inverting_gradients", 5, 6
ALONE = "import sys\nsys.modules['gradinv'] = None\n"
"""Whoever imports the project after this ends."""
MORE = """
model.load_state_dict(before)
model.eval().zero_grad()
torch.nn.functional.cross_entropy(model(images), labels).backward()
tensors = {f"gradient/{name}": parameter.grad.contiguous() for name, parameter in model.named_parameters()}
save_file(tensors | {"labels": labels}, "eval.safetensors", metadata={"leak": json.dumps(facts)})
facts["threat_model"] = {"bn_statistics": "none"}
save_file(tensors, "no_statistics.safetensors", metadata={"leak": json.dumps(facts)})
save_file({"pixels": pixels}, "pixels.safetensors")
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
tensors = {f"gradient/{name}": before[name] - value for name, value in model.named_parameters()}
facts["threat_model"] = {"update": "weight_update[epochs=3,lr=0.1]"}
save_file(tensors | {"labels": labels}, "steps.safetensors", metadata={"leak": json.dumps(facts)})
model.load_state_dict(before)
model.train()(images)
tensors |= {f"buffer/{name}": value for name, value in model.named_buffers()}
facts["threat_model"] = {"update": "weight_update", "bn_statistics": "inferred"}
save_file(tensors, "inferred.safetensors", metadata={"leak": json.dumps(facts)})
"""


def blocks(language):
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [text for word, text in fenced if word == language]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """The files that the page's code and one more script write, in a process that cannot import the project."""
    home = tmp_path_factory.mktemp("client")
    script = ALONE + "\n".join(blocks("python")) + MORE
    done = subprocess.run([sys.executable, "-c", script], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (home / "originals").mkdir()
    pixels = (255 * load_file(home / "pixels.safetensors")["pixels"]).round().to(torch.uint8)
    for name, image in zip(("b.png", "a.png"), pixels, strict=True):  # against the slots' order
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(home / "originals" / name)
    return home


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def network(client):
    network = build_network("test_resnet", num_classes=10, image_size=32)
    network.load_state_dict(load_file(client / "before.safetensors"))
    return network


@pytest.fixture
def attacked(gradinv, client, tmp_path):
    """`gradinv attack FILE` with the client's network, on the CPU, into tmp_path/out."""

    def run(leak, *arguments, attack=ATTACK, budget=BUDGET):
        weights = client / "before.safetensors"
        fixed = ["--victim", "test_resnet", "--weights", weights, "--attack", attack, "--budget", budget]
        return gradinv("attack", leak, *fixed, "--device", "cpu", "--out", tmp_path / "out", *arguments)

    return run


def facts_of(folder):
    return json.loads((folder / "attack.json").read_text(encoding="utf-8"))


def built_in_leak(client, network, bn_mode):
    """What the experiment's own client hands over for the same batch."""
    pixels, labels = load_file(client / "pixels.safetensors")["pixels"], torch.tensor([3, 7])
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    update = client_update(network, normalise(pixels, mean, std), labels, bn_mode=bn_mode, defense=NoDefense(), seed=0)
    victim, batch = Victim(network, bn_mode=bn_mode), Batch(pixels, labels, ("", ""), (0, 1))
    model = ThreatModel(bn_mode=bn_mode)
    return observe(update, victim, batch, model, NoDefense(), 10, mean, std), victim


def test_several_local_steps_are_simulated_as_the_file_says(client, network):
    received = receive(read_leak(client / "steps.safetensors"), network, client / "steps.safetensors")
    pixels = load_file(client / "pixels.safetensors")["pixels"]
    images = normalise(pixels, received.leak.mean, received.leak.std)
    simulated = received.victim.update(images, torch.tensor([3, 7]))
    for value, sent in zip(simulated, received.leak.gradients.values(), strict=True):
        torch.testing.assert_close(value, sent, rtol=1e-2, atol=1e-5)


def test_a_file_of_two_rounds_is_matched_in_both(client, network):
    path = client / "rounds.safetensors"
    received = receive(read_leak(path), network, path)
    assert received.leak.threat_model.observations == 2
    assert any(line.startswith("observation 2: from weights that differ by") for line in consistency(received))
    labels, attack = torch.tensor([3, 7]), create_attack(ATTACK)
    pixels = load_file(client / "pixels.safetensors")["pixels"]
    images = normalise(pixels, received.leak.mean, received.leak.std)
    objective = Objective(received.victim, attack.distance, [])
    true = objective.given(received.leak, labels)
    assert objective.evaluate([images], true)[0].item() == pytest.approx(0, abs=1e-3)
    (later,) = received.leak.later
    wrong = replace(received.leak, later=(replace(later, state=dict(received.victim.named_parameters)),))
    given = objective.given(wrong, labels)
    assert objective.evaluate([images], given)[0].item() > 1e-2  # from the first weights it would be another update


def test_images_of_a_leak_need_not_be_square(tmp_path):
    """From a file alone: the network is built for its images, and an exact attack solves for them."""
    network = build_network("mlp_cpa", num_classes=10, image_size="24x32", untrained=True)
    pixels, labels = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([3])
    update = client_update(network, pixels, labels, bn_mode="eval", defense=NoDefense(), seed=0)
    batch = Batch(pixels, labels, ("",), (0,))
    path = tmp_path / "leak.safetensors"
    observe(update, Victim(network), batch, ThreatModel(), NoDefense(), 10, (0.0,) * 3, (1.0,) * 3).save(path)
    leak = read_leak(path)
    loaded = load_own_victim(VictimSpec(model="mlp_cpa", state="untrained"), leak, path)
    loaded.module.load_state_dict(network.state_dict())
    result = attack_leak(create_attack("ratio"), receive(leak, loaded.module, path), trained=False, seed=0, budget=None)
    assert result.images.shape == (1, 3, 24, 32)
    torch.testing.assert_close(result.images, pixels, atol=1e-5, rtol=0)


def test_statistics_are_solved_from_the_buffers_that_a_file_has(client, network):
    received = receive(read_leak(client / "inferred.safetensors"), network, client / "inferred.safetensors")
    pixels = load_file(client / "pixels.safetensors")["pixels"]
    exact = received.victim.bn_statistics(normalise(pixels, received.leak.mean, received.leak.std))
    assert received.leak.threat_model.bn_mode == "train"
    for (mean, variance), (true_mean, true_variance) in zip(received.leak.bn_statistics, exact, strict=True):
        torch.testing.assert_close(mean, true_mean, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(variance, true_variance, rtol=1e-2, atol=1e-3)
    assert any("nothing is known of the local training" in line for line in consistency(received))


@pytest.mark.parametrize(("file", "bn_mode"), [("leak.safetensors", "train"), ("eval.safetensors", "eval")])
def test_a_foreign_leak_is_attacked_to_the_image_of_the_built_in_clients(
    client, network, attacked, tmp_path, file, bn_mode
):
    result = attacked(client / file, "--seed", SEED)
    assert result.status == 0, result.err
    assert f"mode: {bn_mode}" in result.out
    assert "check" not in result.out
    leak, victim = built_in_leak(client, network, bn_mode)
    made = create_attack(ATTACK).reconstruct(leak, victim, seed=SEED, budget=BUDGET)
    std, mean = (torch.tensor(values).view(3, 1, 1) for values in (leak.std, leak.mean))
    pixels = load_file(tmp_path / "out" / "reconstructions.safetensors")
    assert torch.allclose(pixels["reconstruction"], (made.images * std + mean).clamp(0, 1), atol=1e-5)
    assert pixels["reconstruction"].std() > 0.1
    facts = facts_of(tmp_path / "out")
    assert facts["objective_end"] == pytest.approx(made.objective_end, rel=1e-4)
    assert [step for step, _ in facts["curve"]] == [step for step, _ in made.curve]
    assert (facts["evaluations"], facts["labels"], facts["scores"]) == (BUDGET, [3, 7], None)
    assert facts["threat_model"]["bn_mode"] == bn_mode
    shown = np.asarray(Image.open(tmp_path / "out" / "slot-1.png"))
    assert np.array_equal(shown, (255 * pixels["reconstruction"][1]).round().byte().permute(1, 2, 0).numpy())


def test_the_command_of_the_page_scores_against_the_originals(gradinv, client, tmp_path, monkeypatch):
    monkeypatch.chdir(client)
    command = blocks("")[0].replace("\\\n", " ").replace("--budget 200", f"--budget {BUDGET}").split()
    assert command[:2] == ["gradinv", "attack"]
    result = gradinv(*command[1:], "--device", "cpu", "--out", tmp_path / "page")
    assert result.status == 0, result.err
    scores = facts_of(tmp_path / "page")["scores"]
    assert [image["original"] for image in scores["images"]] == ["a.png", "b.png"]
    assert sorted(image["slot"] for image in scores["images"]) == [0, 1]
    assert {"psnr", "ssim", "structure"} <= set(scores["mean"])
    assert all(f"{image['original']} (slot {image['slot']}): psnr" in result.out for image in scores["images"])
    assert {path.name for path in (tmp_path / "page").iterdir()} == {
        "slot-0.png", "slot-1.png", "reconstructions.safetensors", "attack.json"
    }  # fmt: skip


def test_originals_in_any_order_are_matched():
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    scores = scores_of(images[[2, 0, 1]], Originals(("x", "y", "z"), images))
    assert [(image["original"], image["slot"]) for image in scores["images"]] == [("x", 1), ("y", 2), ("z", 0)]
    assert scores["mean"]["psnr"] == 100.0


def test_one_step_of_fedavg_holds_the_gradient_and_the_labels_are_inferred(client, attacked):
    exact, step = (read_leak(client / f"{name}.safetensors") for name in ("leak", "fedavg"))
    for name, value in exact.gradients.items():
        assert torch.allclose(step.gradients[name], value, atol=1e-4 * float(value.abs().max()) + 1e-5), name
    assert step.labels is None
    result = attacked(client / "fedavg.safetensors", attack="idlg")
    assert result.status == 0, result.err
    assert "check" not in result.out
    assert "labels inferred:sum: [3, 7]" in result.out


def changed(source, path, *, tensors=lambda tensors: tensors, **facts):
    """A copy of a leak file with other tensors, and other facts in its metadata; None removes one."""
    with safe_open(source, framework="pt") as file:
        public = json.loads(file.metadata()["leak"]) | facts
    public = {name: value for name, value in public.items() if value is not None}
    save_file(tensors(load_file(source)), path, metadata={"leak": json.dumps(public)})
    return path


def put(name, value):
    return {"tensors": lambda tensors: tensors | {name: value}}


def drop(name):
    return {"tensors": lambda tensors: {key: value for key, value in tensors.items() if key != name}}


FC = "gradient/fc.weight"
FAULTS = {
    "missing fact": ({"batch_size": None}, "batch_size: Field required"),
    "wrong fact": ({"image_shape": [3, 32]}, "image_shape"),
    "std of zero": ({"std": [0.0, 1.0, 1.0]}, r"std\.0: Input should be greater than 0"),
    "unknown fact": ({"colour": 1}, "colour: Extra inputs"),
    "unknown level": ({"threat_model": {"labels": "some"}}, "labels: Value error, unknown level of labels 'some'"),
    "images of two channels": ({"image_shape": [2, 32, 16]}, r"shape \(2, 32, 16\); victims take 3 channels, or 1"),
    "missing tensor": (drop(FC), r"fc\.weight is missing"),
    "named and missing": ({"names": ["other"]}, "names does not list bn1.bias"),
    "names of a wrapper": (
        {"tensors": lambda tensors: {name.replace("gradient/", "gradient/module."): t for name, t in tensors.items()}},
        r"conv1\.0\.weight is missing, module\.\S+ is no parameter that the victim trains, .*, and 91 more",
    ),
    "unknown gradient": (put("gradient/other", torch.ones(1)), "other is no parameter that the victim trains"),
    "unknown tensor": (put("fc.weight", torch.ones(1)), r"no tensor of a leak is called fc\.weight"),
    "wrong shape": (put(FC, torch.ones(10, 3)), r"fc\.weight is \(10, 3\) float32 and not \(10, \d+\) float32"),
    "wrong type": (put("gradient/fc.bias", torch.ones(10).double()), r"fc\.bias is \(10,\) float64 and not"),
    "NaN": (put("gradient/fc.bias", torch.full((10,), float("nan"))), r"fc\.bias holds NaN or infinity"),
    "nothing but zeros": (
        {"tensors": lambda tensors: {name: torch.zeros_like(value) for name, value in tensors.items()}},
        "every gradient is zero",
    ),
    "other classes": ({"num_classes": 9}, r"knows 10 classes and test_resnet on the leak mine\.leak has 9"),
    "labels out of range": (put("labels", torch.tensor([3, 10])), "labels are not 2 class indices below 10"),
    "labels denied": ({"threat_model": {"labels": "none"}}, "labels is none, which the tensor labels belies"),
    "labels promised": (drop("labels") | {"threat_model": {"labels": "known"}}, "labels is known, which"),
    "statistics promised": ({"threat_model": {"bn_statistics": "exact"}}, "the tensor bn/0/mean is missing"),
    "other statistics": (
        {"tensors": lambda tensors: tensors | {"bn/0/mean": torch.ones(2), "bn/0/var": torch.ones(2)}},
        "batch-norm statistics are not those of the victim's layers",
    ),
    "unknown buffer": (put("buffer/other", torch.ones(1)), "buffer/other is no buffer of the victim"),
    "wrong buffer": (put("buffer/bn1.running_mean", torch.ones(3)), r"buffer/bn1\.running_mean is \(3,\) and not"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_is_one_line_that_names_the_file(client, attacked, tmp_path, kind):
    changes, line = FAULTS[kind]
    result = attacked(changed(client / "leak.safetensors", tmp_path / "mine.leak", **changes))
    assert (result.status, result.out) == (2, "")
    assert re.search(line, result.err), result.err
    assert result.err.count("\n") == 1
    assert "mine.leak" in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "No such file"),
        (b"", "holds no leak"),
        (b"nothing", "holds no leak"),
        ("folder", "holds no leak"),
        ({}, "it has no metadata of the key 'leak'"),
        ({"leak": "{"}, "metadata: Invalid JSON"),
        ({"leak": "[]"}, "metadata: "),
    ],
)
def test_what_is_no_leak_file_is_one_line(attacked, tmp_path, content, line):
    path = tmp_path / "mine.leak"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "folder":
        path.mkdir()
    elif content is not None:
        save_file({FC: torch.ones(1)}, path, metadata=content)
    result = attacked(path)
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "mine.leak holds no leak" in result.err
    assert line in result.err


CHECKS = {
    "mode": ({"threat_model": {"bn_mode": "eval"}}, "check mode: eval, as the file says, but the buffers sent"),
    "scale": (
        {"tensors": lambda ts: {n: 1e4 * t if n.startswith("gradient/") else t for n, t in ts.items()}},
        "a sum where the mean over the batch belongs",
    ),
    "small": (
        {"tensors": lambda ts: {n: 1e-4 * t if n.startswith("gradient/") else t for n, t in ts.items()}},
        "not divided by its learning rate",
    ),
    "labels": (
        {"batch_size": 4} | put("labels", torch.tensor([3, 3, 7, 7])),
        "check labels: 2 classes have a negative sum and the batch has 4 images",
    ),
    "loss": (
        {"tensors": lambda ts: ts | {FC: ts[FC] + ts[FC].std() * torch.randn(ts[FC].shape)}},
        "check loss: the classifier's gradient sums to 0.",
    ),
    "other labels": (put("labels", torch.tensor([3, 8])), "labels: 3, 7 by bias_corrected geng"),
}


@pytest.mark.parametrize("kind", CHECKS)
def test_what_looks_wrong_is_said_in_words(client, network, tmp_path, kind):
    changes, line = CHECKS[kind]
    torch.manual_seed(0)
    path = changed(client / "leak.safetensors", tmp_path / "mine.leak", **changes)
    remarks = consistency(receive(read_leak(path), network, path))
    assert any(line in remark for remark in remarks), remarks


def test_the_order_of_the_file_decides_nothing(client, network):
    path = client / "leak.safetensors"
    leak = read_leak(path)
    received = receive(leak, network, path)
    assert list(received.leak.gradients) == received.victim.parameter_names
    assert list(leak.gradients) != received.victim.parameter_names, "the file's order is another"


def test_public_statistics_are_the_networks_own(client, network):
    path = client / "leak.safetensors"
    received = receive(read_leak(path), network, path)
    assert received.leak.threat_model.bn_statistics == "running"
    for granted, kept in zip(received.leak.bn_statistics, received.victim.running_statistics, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(granted, kept, strict=True))


def test_buffers_survive_the_disk(client, tmp_path):
    leak = Leak.load(client / "leak.safetensors")
    leak.save(tmp_path / "again")
    again = Leak.load(tmp_path / "again")
    assert set(leak.buffers) == set(again.buffers) != set()
    assert all(torch.equal(leak.buffers[name], again.buffers[name]) for name in leak.buffers)


@pytest.mark.parametrize(
    ("file", "arguments", "line"),
    [
        ("no_statistics", {"attack": "gradinversion"}, "impossible on this leak: a batch-norm prior needs"),
        ("leak", {"attack": "gradinversion", "budget": 1}, "impossible on this leak: a budget of 1"),
        ("leak", {"attack": "idgl"}, "did you mean idlg"),
        ("leak", {"budget": 0}, "budget"),
    ],
)
def test_an_impossible_request_is_said_and_nothing_is_written(client, attacked, tmp_path, file, arguments, line):
    result = attacked(client / f"{file}.safetensors", **arguments)
    assert result.status == 2
    assert line in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("victim", "line"),
    [
        (["--victim", "test_resnet"], "--weights is missing"),
        (["--victim", "test_resnet[colour=1]", "--state", "untrained"], "unknown parameter 'colour'"),
        (["--victim", "test_resnt", "--state", "untrained"], "did you mean test_resnet"),
        (["--victim", "resnet18", "--state", "untrained"], "leak.safetensors: the leak does not fit the victim"),
        (["--victim", "test_resnet", "--state", "pretrained"], "1000 classes|pretrained weights of test_resnet"),
    ],
)
def test_a_victim_that_is_not_the_clients_is_one_line(gradinv, client, tmp_path, victim, line):
    fixed = ["--attack", ATTACK, "--budget", 2, "--device", "cpu", "--out", tmp_path / "out"]
    result = gradinv("attack", client / "leak.safetensors", *victim, *fixed)
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert re.search(line, result.err), result.err


def test_originals_that_are_not_the_batchs_and_a_full_folder_are_refused(client, attacked, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    leak = client / "leak.safetensors"
    assert "few holds 0 images, and the leak is of 2" in attacked(leak, "--originals", few).err
    assert "none is no folder" in attacked(leak, "--originals", tmp_path / "none").err
    for name in ("0.png", "1.png"):
        Image.new("RGB", (16, 32)).save(few / name)
    assert "0.png has 16 x 32 pixels, and the leak 32 x 32" in attacked(leak, "--originals", few).err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine", encoding="utf-8")
    assert "out is not empty; give another folder" in attacked(leak).err


def test_a_saved_leak_of_an_untrained_network_needs_no_weights(gradinv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = build_network("lenet_dlg", num_classes=4, image_size=8, seed=2, untrained=True)
    pixels, labels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([2])
    update = client_update(network, pixels, labels, bn_mode="eval", defense=NoDefense(), seed=0)
    victim, batch = Victim(network), Batch(pixels, labels, ("",), (0,))
    leak = observe(update, victim, batch, ThreatModel(), NoDefense(), 4, (0.0,) * 3, (1.0,) * 3)
    leak.save(tmp_path / "mine.safetensors")
    fixed = ["--state", "untrained", "--attack", "dlg", "--budget", 40, "--device", "cpu"]
    result = gradinv("attack", "mine.safetensors", "--victim", "lenet_dlg[seed=2]", *fixed)
    assert result.status == 0, result.err
    assert "mode: no batch-norm layers" in result.out
    assert "wrote 3 files to runs/attack-mine" in result.out
    made = create_attack("dlg").reconstruct(leak, victim, seed=0, budget=40)
    seen = load_file(tmp_path / "runs" / "attack-mine" / "reconstructions.safetensors")["reconstruction"]
    assert torch.equal(seen, made.images.clamp(0, 1))
    other = gradinv("attack", "mine.safetensors", "--victim", "lenet_dlg[seed=3]", *fixed, "--out", "other")
    assert other.status == 0, other.err
    assert "check loss" not in other.out, "of other weights of the same kind nothing but the scale can tell"


def test_a_plug_in_that_returns_no_batch_is_one_line(client, attacked, tmp_path):
    (tmp_path / "flat.py").write_text(
        "import torch\n"
        "from gradinv.attacks.attack import Attack\n"
        "from gradinv.attacks.dlg import ZHU_2019\n"
        "from gradinv.attacks.leak import Reconstruction\n"
        "from gradinv.attacks.registry import register_attack\n"
        "@register_attack('flat', paper=ZHU_2019)\n"
        "class Flat(Attack):\n"
        "    def reconstruct(self, leak, victim, *, seed, budget=None):\n"
        "        return Reconstruction(torch.zeros(3), torch.zeros(3), torch.zeros(2), 'given')\n",
        encoding="utf-8",
    )
    result = attacked(client / "leak.safetensors", "--plugin", tmp_path / "flat.py", attack="flat")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "the attack returned images of shape (3,), the batch is (2, 3, 32, 32)" in result.err
