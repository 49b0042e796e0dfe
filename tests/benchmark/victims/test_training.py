"""Training: it learns, to the same bits each time, and keeps weights and report together."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file

from gradinv.benchmark.datasets import DataError
from gradinv.benchmark.victims import training
from gradinv.benchmark.victims.networks import VictimError, build_network
from gradinv.benchmark.victims.normalisation import normalise
from gradinv.benchmark.victims.recipe import Recipe
from gradinv.benchmark.victims.spec import VictimSpec
from gradinv.benchmark.victims.training import augment, correct_share, train_victim, training_of, victim_path

SPEC = VictimSpec(model="test_resnet", state="trained")
SHORT = VictimSpec(model="test_resnet", state="trained", epochs=3, recipe=Recipe(batch_size=16, lr=0.05))


def test_training_learns_and_reports(make_dataset, tmp_path) -> None:
    dataset = make_dataset()
    path = train_victim(SHORT, dataset, progress=False)
    assert path == victim_path(SHORT, dataset)
    assert path.parent == tmp_path / "cache" / "victims"
    assert re.fullmatch(r"test_resnet-tiny-[0-9a-f]{16}\.safetensors", path.name)
    report = json.loads(path.with_suffix(".json").read_text())
    assert report["accuracy"] > 0.9
    assert set(report["accuracy_by_role"]) == {"tuning", "evaluation"}
    assert report["recipe"] == training_of(SHORT, dataset).model_dump()
    assert report["recipe"]["lr"] == 0.05
    assert report["data_hashes"]["train"] == dataset.split("train").content_hash
    assert report["train_loss"] < 1
    assert {"spec", "versions", "date", "threads", "device"} <= set(report)
    assert sorted(file.name for file in path.parent.iterdir()) == [path.with_suffix(".json").name, path.name]


def test_training_is_reproducible_to_the_bit_and_leaves_random_state_alone(make_dataset) -> None:
    dataset = make_dataset()
    torch.manual_seed(3)
    expected = torch.rand(2)
    contents = []
    for _ in range(2):
        torch.manual_seed(3)
        path = train_victim(SHORT.model_copy(update={"epochs": 1}), dataset, progress=False)
        assert torch.equal(torch.rand(2), expected)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


def test_rounds_are_stages_of_the_same_training(make_dataset) -> None:
    dataset, whole = make_dataset(), SHORT.model_copy(update={"epochs": 2})
    expected = train_victim(whole, dataset, progress=False).read_bytes()
    path = train_victim(whole, dataset, rounds=(0, 1, 2), progress=False)
    assert path.read_bytes() == expected  # to be judged on the way changes nothing
    stages = [victim_path(whole.model_copy(update={"round": n}), dataset) for n in (0, 1, 2)]
    start, middle, end = (load_file(stage) for stage in stages)
    untrained = build_network("test_resnet", num_classes=4, image_size=16, seed=0, untrained=True).state_dict()
    assert all(torch.equal(start[name], value) for name, value in untrained.items())
    assert all(torch.equal(end[name], value) for name, value in load_file(path).items())
    assert not torch.equal(start["fc.weight"], middle["fc.weight"])
    assert not torch.equal(middle["fc.weight"], end["fc.weight"])
    facts = [json.loads(stage.with_suffix(".json").read_text()) for stage in stages]
    assert [fact["spec"]["round"] for fact in facts] == [0, 1, 2]
    assert facts[0]["train_loss"] is None
    assert facts[2]["accuracy"] == json.loads(path.with_suffix(".json").read_text())["accuracy"]


def test_everything_that_shapes_a_victim_is_in_its_name(make_dataset) -> None:
    dataset = make_dataset()
    variants = [
        (SHORT, dataset),
        (SHORT.model_copy(update={"seed": 1}), dataset),
        (SHORT.model_copy(update={"stem": "cifar"}), dataset),
        (SHORT, make_dataset(train=33)),
        (SHORT, make_dataset(size=32)),
        (SHORT.model_copy(update={"recipe": Recipe(batch_size=16, lr=0.01)}), dataset),
        (SHORT.model_copy(update={"epochs": 4}), dataset),
    ]
    assert len({victim_path(*variant) for variant in variants}) == len(variants)
    assert victim_path(SPEC.model_copy(update={"epochs": 30}), dataset) == victim_path(SPEC, dataset)


def test_the_training_follows_the_state(make_dataset) -> None:
    dataset = make_dataset()
    assert training_of(SPEC, dataset).epochs == 30
    assert training_of(SPEC.model_copy(update={"epochs": 7}), dataset).epochs == 7
    assert training_of(VictimSpec(model="test_resnet", state="early"), dataset).epochs == 1
    assert training_of(SHORT, dataset).batch_size == 16


def test_epochs_are_lines_where_stderr_is_no_terminal(make_dataset, capsys) -> None:
    train_victim(SHORT, make_dataset())
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("training test_resnet on tiny: epoch 3/3, loss ")
    train_victim(SHORT, make_dataset(), progress=False)
    assert capsys.readouterr().err == ""


def test_divergence_is_an_error_and_leaves_no_file(make_dataset, tmp_path) -> None:
    with pytest.raises(VictimError, match="diverged"):
        train_victim(SHORT.model_copy(update={"recipe": Recipe(batch_size=8, lr=1e30)}), make_dataset(), progress=False)
    assert not (tmp_path / "cache").exists()


def test_no_train_images_is_an_error(make_dataset) -> None:
    with pytest.raises(DataError, match="no train images"):
        train_victim(SPEC, make_dataset(train=0), progress=False)


def test_an_interrupted_write_leaves_no_weights(make_dataset, monkeypatch) -> None:
    def interrupted(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "write_tensors", interrupted)
    dataset = make_dataset()
    with pytest.raises(KeyboardInterrupt):
        train_victim(SHORT, dataset, progress=False)
    assert not victim_path(SHORT, dataset).exists()


def test_augmentation_mirrors_and_shifts_each_image_alone() -> None:
    image = torch.arange(1, 65, dtype=torch.float32).view(1, 1, 8, 8).expand(200, 3, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        images = augment(image, Recipe(shift=0.125))
    seen = {tuple(image.flatten().tolist()) for image in images[:, 0]}
    possible = set()
    padded = torch.nn.functional.pad(image[:1, 0], (1, 1, 1, 1))[0]
    mirrored = torch.nn.functional.pad(image[:1, 0].flip(2), (1, 1, 1, 1))[0]
    for source in (padded, mirrored):
        possible |= {tuple(source[i : i + 8, j : j + 8].flatten().tolist()) for i in range(3) for j in range(3)}
    assert seen == possible
    assert torch.equal(images[:, 0], images[:, 2])


def test_augmentation_can_be_switched_off() -> None:
    images = torch.rand(4, 3, 8, 8)
    assert torch.equal(augment(images, Recipe(flip=False, shift=0)), images)


def test_correct_share_counts_every_image(make_dataset) -> None:
    dataset = make_dataset(train=80)
    split = dataset.split("train")
    network = build_network("test_resnet", num_classes=4, image_size=16, untrained=True)
    with torch.no_grad():
        predicted = network(normalise(split.images(range(len(split))), dataset.mean, dataset.std)).argmax(1).numpy()
    share = correct_share(network, (dataset.mean, dataset.std), split)
    assert share == pytest.approx((predicted == split.labels).mean())
