"""One trial from private batch to record fields: reproducible, matched once, controls that change one thing only."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from gradinv.attacks.attack import Attack
from gradinv.attacks.gradient_matching.attack import GradientMatching
from gradinv.attacks.gradient_matching.distances import SquaredL2
from gradinv.attacks.gradient_matching.optimizers import Adam, step_decay
from gradinv.attacks.gradient_matching.priors import Candidate, Prior
from gradinv.attacks.leak import Leak, Reconstruction, ThreatModel
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets.base import Dataset
from gradinv.benchmark.datasets.batches import draw_batch, mean_image
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment import trial
from gradinv.benchmark.experiment.client import ImpossibleCellError, client_update
from gradinv.benchmark.experiment.controls import CONTROLS, decoy_batch
from gradinv.benchmark.experiment.isolation import ImpossibleResultError
from gradinv.benchmark.experiment.outcome import Outcome
from gradinv.benchmark.experiment.spec import TrialSpec
from gradinv.benchmark.experiment.trial import run_together
from gradinv.benchmark.victims.loading import LoadedVictim, load_victim
from gradinv.benchmark.victims.normalisation import denormalise, normalise
from gradinv.benchmark.victims.spec import VictimSpec
from gradinv.metrics.records.record import ImageScore, Measured

MEASURED = {"seconds", "peak_memory_mb"}
PROXY = {"attack": "gradinversion.fidelity", "model": "test_resnet", "bn_statistics": "proxy"}


@pytest.fixture
def dataset(make_dataset: Callable) -> Dataset:
    """Four classes of 16x16 images."""
    return make_dataset()


@pytest.fixture
def run(dataset: Dataset) -> Callable[..., Outcome]:
    """`run(attack="inverting_gradients", model="lenet_dlg", labels=..., bn_statistics=..., **spec)`: one trial."""
    loaded: dict[str, LoadedVictim] = {}

    def once(*, model: str = "lenet_dlg", **changes: Any) -> Outcome:
        victim = VictimSpec(model=model, state="untrained")
        if model not in loaded:
            loaded[model] = load_victim(victim, dataset)
        grants = {name: changes.pop(name) for name in ThreatModel.model_fields if name in changes}
        settings = {"attack": "inverting_gradients", "defense": "none", "batch_size": 2, "repetition": 0, "budget": 6}
        identity = {"dataset": dataset.name, "image_size": 16, "data_hash": "", "weights_hash": "", "victim": victim}
        spec = TrialSpec(
            **identity, **(settings | changes), threat_model=grants, metrics=("psnr", "ssim"), sources={}, versions={}
        )
        return run_together([spec], dataset, loaded[model])[0]

    return once


@pytest.fixture
def leaks(monkeypatch: pytest.MonkeyPatch) -> list[Leak]:
    """Every leak that an attack saw in this test."""
    seen: list[Leak] = []
    original = GradientMatching.reconstruct

    def spy(self: GradientMatching, leak: Leak, victim: Victim, **options: Any) -> Reconstruction:
        seen.append(leak)
        return original(self, leak, victim, **options)

    monkeypatch.setattr(GradientMatching, "reconstruct", spy)
    return seen


def steady(outcome: Outcome) -> dict[str, Any]:
    names = Measured.model_fields.keys() - MEASURED
    return {name: getattr(outcome, name) for name in names}


@pytest.mark.parametrize("control", ["", *(name for name in CONTROLS if not name.endswith("_statistics"))])
def test_a_trial_is_a_function_of_its_specification(run: Callable, control: str) -> None:
    first, second = (run(control=control, defense="gaussian_noise[sigma=0.01]") for _ in range(2))
    assert steady(first) == steady(second)
    assert all(torch.equal(value, second.tensors[name]) for name, value in first.tensors.items())
    assert first.state == "done"
    assert [score.slot for score in first.images] == [0, 1]
    assert not torch.equal(run(control=control, repetition=1).tensors["original"], first.tensors["original"])


def test_an_attacks_fields(run: Callable, dataset: Dataset) -> None:
    outcome = run()
    assert (outcome.label_method, outcome.uses, outcome.metrics) == (
        "given",
        ["gradient", "labels"],
        {"label_accuracy": 1.0},
    )
    assert outcome.evaluations == 6 == outcome.curve[-1][0]
    assert outcome.objective_start == outcome.curve[0][1] >= outcome.objective_end
    assert outcome.zero_gradient_share == 0.0
    assert outcome.seconds > 0
    assert outcome.peak_memory_mb > 10
    batch = draw_batch(dataset, repetition=0, batch_size=2)
    assert [(score.image, score.label) for score in outcome.images] == list(
        zip(batch.hashes, batch.labels.tolist(), strict=True)
    )
    assert set(outcome.images[0].metrics) == {"psnr", "ssim", "structure", "identity_lowpass"}


def test_the_pictures_are_the_originals_and_what_was_scored(run: Callable, dataset: Dataset) -> None:
    outcome = run()
    originals = draw_batch(dataset, repetition=0, batch_size=2).images
    assert torch.equal(outcome.tensors["original"].float() / 255, originals)
    assert {name: value.dtype for name, value in outcome.tensors.items()} == dict.fromkeys(
        ("original", "reconstruction", "final", "snapshots"), torch.uint8
    )
    assert outcome.tensors["snapshots"].shape == (len(outcome.snapshots), 2, 3, 16, 16)
    for slot, score in enumerate(outcome.images):
        mse = (outcome.tensors["reconstruction"][slot].float() / 255 - originals[slot]).square().mean()
        assert score.metrics["psnr"] == pytest.approx(float(-10 * mse.log10()), abs=0.05)


class Spendthrift(Attack):
    """Evaluates `spends` times and says that it did `says` times."""

    def __init__(self, spends: int, says: int) -> None:
        self.spends, self.says = spends, says

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        images = torch.zeros(leak.shape)
        for _ in range(self.spends):
            victim.update(images, leak.labels)
        return Reconstruction(images, images, leak.labels, "given", evaluations=self.says)


def test_evaluations_are_counted_and_not_believed(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "create_attack", lambda key: Spendthrift(spends=5, says=1))
    outcome = run(budget=6)
    assert (outcome.evaluations, outcome.evaluations_counted) == (1, 5)
    monkeypatch.setattr(trial, "create_attack", lambda key: Spendthrift(spends=7, says=1))
    with pytest.raises(ImpossibleResultError, match="spent 1 evaluations, its victim counted 7; the budget is 6"):
        run(budget=6)


@pytest.mark.parametrize(
    "attack", ["dlg", "idlg", "inverting_gradients[restarts=2]", "gradinversion[agents=2,alpha_bn=0.0]"]
)
@pytest.mark.parametrize("together", [1, 2])
def test_every_attack_spends_what_it_says(run: Callable, attack: str, together: int) -> None:
    outcome = run(attack=attack, batch_size=1, budget=9, together=together)
    assert outcome.evaluations == outcome.evaluations_counted > 0


class Oracle(Attack):
    """Returns given images and labels, whatever it sees."""

    def __init__(self, *, images: Tensor, labels: Tensor, snapshots: tuple[Tensor, ...] = ()) -> None:
        self.images, self.labels, self.snapshots = images, labels, snapshots

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        images, *snapshots = (normalise(x, leak.mean, leak.std) for x in (self.images, *self.snapshots))
        at = tuple(range(len(snapshots)))
        return Reconstruction(images, images, self.labels, "given", snapshots=tuple(snapshots), snapshot_at=at)


def stand_in(monkeypatch: pytest.MonkeyPatch, attack: Attack) -> None:
    monkeypatch.setattr(trial, "create_attack", lambda _: attack)


def test_an_exact_copy_out_of_order_is_exact(run: Callable, dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 3-cycle, which its own inverse would not undo."""
    batch = draw_batch(dataset, repetition=0, batch_size=4)
    order = [1, 2, 0, 3]
    shuffled, labels = batch.images[order], batch.labels[order]
    stand_in(monkeypatch, Oracle(images=shuffled, labels=labels, snapshots=(shuffled, shuffled.flip(0))))
    outcome = run(batch_size=4)
    assert [score.reconstruction for score in outcome.images] == [2, 0, 1, 3]
    assert min(score.metrics["psnr"] for score in outcome.images) > 100
    assert (outcome.slot_accuracy, outcome.metrics["label_accuracy"]) == (0.25, 1.0)
    assert outcome.final_psnr == 100.0
    for name in ("reconstruction", "final"):
        assert torch.equal(outcome.tensors[name], outcome.tensors["original"])
    assert torch.equal(outcome.tensors["snapshots"][0], outcome.tensors["original"])


def test_images_are_clamped_and_what_is_not_finite_is_grey(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.stack([torch.full((3, 16, 16), value) for value in (7.0, math.nan)])
    stand_in(monkeypatch, Oracle(images=images, labels=torch.tensor([0, 0])))
    outcome = run()
    assert sorted(outcome.tensors["reconstruction"].flatten(1)[:, 0].tolist()) == [128, 255]
    assert all(math.isfinite(score.metrics["psnr"]) for score in outcome.images)


def test_a_diverged_attack_is_scored_and_flagged(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Prior):
        def __call__(self, candidate: Candidate) -> Tensor:
            return candidate.images.sum() * math.nan

    optimizer = Adam(0.1, step_decay(0.5))
    stand_in(monkeypatch, GradientMatching(distance=SquaredL2(), optimizer=optimizer, iterations=1, priors=[Broken(1)]))
    outcome = run()
    assert outcome.state == "diverged"
    assert outcome.objective_end == math.inf
    assert all(isinstance(score, ImageScore) and math.isfinite(score.metrics["psnr"]) for score in outcome.images)


@pytest.mark.parametrize("control", ["other_gradient", "noise_gradient"])
def test_a_control_of_an_attack_changes_the_gradients_only(run: Callable, leaks: list[Leak], control: str) -> None:
    options = {"model": "test_resnet", "attack": "gradinversion.fidelity", "bn_statistics": "exact", "budget": 2}
    plain, changed = run(**options), run(control=control, **options)
    true, control_leak = leaks
    assert torch.equal(true.labels, control_leak.labels)
    for layer, control_layer in zip(true.bn_statistics, control_leak.bn_statistics, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(layer, control_layer, strict=True))
    assert true.threat_model == control_leak.threat_model
    assert not any(
        torch.equal(value, control_leak.gradients[name]) for name, value in true.gradients.items() if value.any()
    )
    assert torch.equal(plain.tensors["original"], changed.tensors["original"])
    assert plain.zero_gradient_share == changed.zero_gradient_share


def test_a_group_leaves_its_consensus_and_its_spread_in_pixel_values(
    run: Callable, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Reconstruction] = []
    original = GradientMatching.reconstruct
    monkeypatch.setattr(
        GradientMatching, "reconstruct", lambda *args, **kwargs: made.append(original(*args, **kwargs)) or made[-1]
    )
    outcome = run(attack="gradinversion.no_bn[agents=2,consensus=lazy]", budget=40)
    loaded = load_victim(VictimSpec(model="lenet_dlg", state="untrained"), dataset)
    order = [score.reconstruction for score in outcome.images]
    consensus = denormalise(made[0].consensus, loaded.mean, loaded.std)[order]
    spread = (made[0].spread * torch.tensor(loaded.std).view(1, -1, 1, 1))[order]
    for score, picture, original_image, deviation in zip(
        outcome.images, consensus, outcome.tensors["original"], spread, strict=True
    ):
        error = (picture - original_image / 255).square().mean()
        assert score.details["consensus_psnr"] == pytest.approx(float(-10 * error.log10()), abs=0.05)  # 8-bit original
        assert score.details["agent_spread"] == pytest.approx(float(deviation.mean()))
    assert torch.equal(outcome.tensors["consensus"], (255 * consensus).round().to(torch.uint8))


def test_the_progress_of_a_trial_is_the_psnr_of_its_snapshots(run: Callable) -> None:
    outcome = run(budget=30)
    originals, snapshots = outcome.tensors["original"] / 255, outcome.tensors["snapshots"] / 255
    expected = [
        float(sum(-10 * (a - b).square().mean().log10() for a, b in zip(snapshot, originals, strict=True)) / 2)
        for snapshot in snapshots
    ]
    assert outcome.snapshot_psnr == pytest.approx(expected, abs=0.05)
    assert len(outcome.snapshots) == len(expected)


def test_the_other_gradient_is_the_true_update_of_another_batch(
    run: Callable, dataset: Dataset, leaks: list[Leak]
) -> None:
    run(control="other_gradient")
    loaded = load_victim(VictimSpec(model="lenet_dlg", state="untrained"), dataset)
    decoy, _ = decoy_batch(dataset, draw_batch(dataset, repetition=0, batch_size=2), 0)
    images = normalise(decoy.images, loaded.mean, loaded.std)
    expected = client_update(
        loaded.module, images, decoy.labels, bn_mode="eval", defense=create_defense("none"), seed=0
    ).sent
    for name, value in leaks[0].gradients.items():
        torch.testing.assert_close(value, expected[name])


def test_prior_only_spends_the_budget_without_the_gradient(run: Callable) -> None:
    outcome = run(control="prior_only")
    assert outcome.uses == ["labels"]
    assert outcome.evaluations == 6
    blind = run(control="prior_only", defense="gaussian_noise[sigma=9]")
    assert torch.equal(outcome.tensors["reconstruction"], blind.tensors["reconstruction"])


def test_no_statistics_sees_neither_gradient_nor_statistics(run: Callable) -> None:
    exact = {"model": "test_resnet", "attack": "gradinversion.fidelity", "bn_statistics": "exact"}
    with_statistics = run(**exact, control="prior_only")
    without, defended = (run(**exact, control="no_statistics", defense=name) for name in ("none", "pruning[ratio=0.9]"))
    assert without.uses == ["labels"]
    assert torch.equal(without.tensors["reconstruction"], defended.tensors["reconstruction"])
    assert not torch.equal(without.tensors["reconstruction"], with_statistics.tensors["reconstruction"])


def test_other_statistics_are_those_of_another_batch_and_all_that_is_replaced(
    run: Callable, dataset: Dataset, leaks: list[Leak]
) -> None:
    exact = {"model": "test_resnet", "attack": "gradinversion.fidelity", "bn_statistics": "exact"}
    blind, other = (run(**exact, control=name) for name in ("prior_only", "other_statistics"))
    assert other.uses == ["labels", "bn_statistics"] == blind.uses
    assert not torch.equal(blind.tensors["reconstruction"], other.tensors["reconstruction"])
    loaded = load_victim(VictimSpec(model="test_resnet", state="untrained"), dataset)
    decoy, _ = decoy_batch(dataset, draw_batch(dataset, repetition=0, batch_size=2), 0)
    assert all(torch.equal(leaks[0].gradients[name], value) for name, value in leaks[1].gradients.items())
    assert torch.equal(leaks[0].labels, leaks[1].labels)
    # By forward hooks of this test, since what is granted is made by hooks of the victim.
    inputs = _bn_inputs(loaded.module, normalise(decoy.images, loaded.mean, loaded.std))
    for (mean, var), features in zip(leaks[1].bn_statistics, inputs, strict=True):
        torch.testing.assert_close(mean, features.mean((0, 2, 3)))
        torch.testing.assert_close(var, features.var((0, 2, 3), correction=0))


def _bn_inputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    """What enters each batch-norm layer (B, C, H, W), in the order of the layers."""
    inputs: list[Tensor] = []
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    network.eval()(images)
    return inputs


def test_statistics_inferred_from_buffers_are_replaced_too(run: Callable, leaks: list[Leak]) -> None:
    sent = {"bn_statistics": "inferred", "buffers": "sent", "bn_mode": "train"}
    cell = {"model": "test_resnet", "attack": "gradinversion.fidelity", **sent}
    for name in ("prior_only", "other_statistics"):
        run(**cell, control=name)
    first, second = (leak.bn_statistics[0][0] for leak in leaks)
    assert not torch.allclose(first, second)


def test_a_set_of_one_image_a_class_has_another_gradient_all_the_same(make_dataset: Callable) -> None:
    dataset = make_dataset(held_out=2)
    victim = VictimSpec(model="lenet_dlg", state="untrained")
    spec = TrialSpec(
        dataset=dataset.name, image_size=16, data_hash="", victim=victim, weights_hash="", attack="dlg", defense="none",
        control="other_gradient", threat_model={}, batch_size=1, repetition=0, budget=2, metrics=("psnr",), sources={},
        versions={},
    )  # fmt: skip
    outcome = run_together([spec], dataset, load_victim(victim, dataset))[0]
    assert any(note.startswith("other_gradient: images of other classes") for note in outcome.notes)


def test_a_blind_attack_without_granted_labels_claims_none(run: Callable) -> None:
    outcome = run(control="prior_only", labels="none", batch_size=1)
    assert (outcome.metrics, outcome.label_method, outcome.uses) == ({}, "", [])


@pytest.mark.parametrize("control", ["same_class", "mean_image"])
def test_a_control_without_an_attack_needs_no_possible_attack(run: Callable, dataset: Dataset, control: str) -> None:
    outcome = run(control=control, attack="")
    assert (outcome.evaluations, outcome.metrics) == (0, {})
    assert (outcome.seconds, outcome.zero_gradient_share) == (0, None)
    if control == "mean_image":
        expected = (255 * mean_image(dataset)).round().to(torch.uint8)
        assert all(torch.equal(image, expected) for image in outcome.tensors["reconstruction"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attack": "gradinversion"}, "network without batch norm"),
        ({"attack": "gradinversion", "model": "test_resnet", "bn_statistics": "none"}, "needs bn_statistics"),
        ({"attack": "gradinversion", "model": "test_resnet"}, "running statistics of an untrained network"),
        ({"labels": "none"}, "needs labels: counts or known"),
        ({"attack": "inverting_gradients[label_rule=rlu]", "labels": "none"}, "the rule rlu needs auxiliary images"),
        ({"attack": "dlg", "control": "prior_only"}, "has no prior"),
        ({"control": "other_statistics"}, "uses no granted statistics"),
        (PROXY | {"control": "other_statistics"}, "no statistics of the private batch are granted"),
        ({"model": "test_resnet", "bn_mode": "train", "batch_size": 1}, "more than one value per channel"),
    ],
)
def test_impossible_cells_say_why(run: Callable, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ImpossibleCellError, match=reason):
        run(**changes)


@pytest.mark.parametrize(("buffers", "bn_mode"), [("withheld", "train"), ("sent", "train"), ("sent", "eval")])
def test_a_client_sends_its_buffers_or_withholds_them(
    run: Callable, leaks: list[Leak], buffers: str, bn_mode: str
) -> None:
    run(model="test_resnet", buffers=buffers, bn_mode=bn_mode)
    if buffers == "withheld":
        assert leaks[0].buffers is None
        return
    tracked = [int(value) for name, value in leaks[0].buffers.items() if name.endswith("num_batches_tracked")]
    assert set(tracked) == {1 if bn_mode == "train" else 0}


def test_what_is_inferred_from_the_buffers_is_what_the_batch_left(run: Callable, leaks: list[Leak]) -> None:
    train = {"model": "test_resnet", "bn_mode": "train", "attack": "gradinversion.fidelity"}
    run(**train, bn_statistics="inferred", buffers="sent")
    run(**train, bn_statistics="exact")
    inferred, exact = (leak.bn_statistics for leak in leaks)
    for (mean, variance), (true_mean, true_variance) in zip(inferred, exact, strict=True):
        torch.testing.assert_close(mean, true_mean, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(variance, true_variance, rtol=1e-2, atol=1e-3)


def test_proxy_statistics_are_of_tuning_images_whose_number_is_said(
    run: Callable, leaks: list[Leak], dataset: Dataset
) -> None:
    proxy = {"model": "test_resnet", "attack": "gradinversion.fidelity", "bn_statistics": "proxy"}
    outcome, _ = (run(**proxy, client_precision="float64", repetition=repetition) for repetition in (0, 1))
    tuning = len(dataset.split("tuning"))
    assert f"public images: {tuning} of the tuning split of {dataset.name}" in outcome.notes
    for first, second in zip(leaks[0].bn_statistics, leaks[1].bn_statistics, strict=True):
        assert torch.equal(first[0], second[0])  # of no private batch


def test_the_attacks_victim_is_from_before_a_train_mode_update(run: Callable, leaks: list[Leak]) -> None:
    """A train-mode update moves the buffers: two trials in a row must be granted the same running statistics."""
    for _ in range(2):
        run(model="test_resnet", bn_mode="train", bn_statistics="running", budget=1)
    for first, second in zip(leaks[0].bn_statistics, leaks[1].bn_statistics, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert not first[0].any()


def test_normalisation_is_the_victims(run: Callable, leaks: list[Leak], dataset: Dataset) -> None:
    run(model="test_resnet", budget=1)
    run(model="lenet_dlg", budget=1)
    assert (leaks[0].mean, leaks[0].std) == (dataset.mean, dataset.std)
    assert (leaks[1].mean, leaks[1].std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_where_the_system_does_not_tell_memory_stays_unknown(monkeypatch):
    monkeypatch.setattr(trial, "resource", None)  # as on Windows
    assert trial._peak_memory_mb("cpu") is None


def test_a_client_in_double_precision_sends_it_and_its_trial_attacks_in_it(run: Callable, leaks: list[Leak]) -> None:
    outcomes = [run(client_precision=precision, budget=3) for precision in ("float32", "float64", "float32")]
    types = [{value.dtype for value in leak.gradients.values()} for leak in leaks]
    assert types == [{torch.float32}, {torch.float64}, {torch.float32}]
    assert [outcome.state for outcome in outcomes] == ["done"] * 3
    assert outcomes[0].images == outcomes[2].images != outcomes[1].images


LOCAL = "weight_update[epochs=2,lr=0.05,minibatch=1]"


@pytest.mark.parametrize(
    ("simulation", "key", "known"),
    [
        ("strong", "dlg", LOCAL),
        ("strong", "idlg", LOCAL),
        ("strong", "inverting_gradients", LOCAL),
        ("strong", "gradinversion.no_bn", LOCAL),
        ("weak", "inverting_gradients", LOCAL.replace("]", ",order=unknown]")),
        ("none", "inverting_gradients", "weight_update"),
        ("none", "surrogate_model", "weight_update"),
    ],
)
def test_a_weight_update_is_attacked_with_what_is_known_of_the_local_training(
    run: Callable, leaks: list[Leak], simulation: str, key: str, known: str
) -> None:
    outcome = run(attack=key, update=LOCAL, simulation=simulation, budget=8)
    assert outcome.state == "done"
    assert leaks[0].threat_model.update == known
    assert outcome.objective_end < outcome.objective_start


@pytest.mark.parametrize("control", ["other_gradient", "noise_gradient"])
def test_controls_of_a_weight_update_are_weight_updates(run: Callable, leaks: list[Leak], control: str) -> None:
    for name in ("", control):
        run(update=LOCAL, control=name)
    true, decoy = (torch.stack([value.norm() for value in leak.gradients.values()]) for leak in leaks)
    differ = [not torch.equal(a, b) for a, b in zip(*(leak.gradients.values() for leak in leaks), strict=True)]
    assert any(differ)
    torch.testing.assert_close(decoy.norm(), true.norm(), rtol=1e-4 if control == "noise_gradient" else 0.9, atol=0)


def test_bn_statistics_are_not_inferred_after_several_steps(run: Callable) -> None:
    train = {"model": "test_resnet", "attack": "gradinversion.fidelity", "bn_mode": "train", "buffers": "sent"}
    with pytest.raises(ImpossibleCellError, match="after 2 only a mixture is left"):
        run(**train, bn_statistics="inferred", update="weight_update[epochs=2,lr=0.01]")
    run(**train, bn_statistics="inferred", update="weight_update[lr=0.01]")


def test_a_gradient_leaves_no_local_training_to_simulate(run: Callable) -> None:
    with pytest.raises(ImpossibleCellError, match="leaves no local training to simulate"):
        run(simulation="weak")


ROUNDS = {"observations": 3, "server_lr": 0.1}


def test_every_round_sends_from_where_the_one_before_has_moved_the_network(
    run: Callable, leaks: list[Leak], dataset: Dataset
) -> None:
    outcome = run(defense="gaussian_noise[sigma=0.01]", budget=6, **ROUNDS)
    assert (outcome.state, outcome.evaluations) == ("done", 6)
    loaded = load_victim(VictimSpec(model="lenet_dlg", state="untrained"), dataset)
    batch = draw_batch(dataset, repetition=0, batch_size=2)
    images = normalise(batch.images, loaded.mean, loaded.std)
    state = dict(loaded.module.named_parameters())
    noises, received = [], leaks[0].gradients
    for later in leaks[0].later:
        state = {name: value.detach() - 0.1 * received[name] for name, value in state.items()}
        assert all(torch.equal(value, later.state[name]) for name, value in state.items())
        leaves = {name: value.clone().requires_grad_() for name, value in state.items()}
        loss = torch.nn.functional.cross_entropy(
            torch.func.functional_call(loaded.module, leaves, images), batch.labels
        )
        (plain,) = torch.autograd.grad(loss, leaves["fc.weight"])
        noises.append(later.gradients["fc.weight"] - plain)
        received = later.gradients
    assert len(noises) == 2
    assert not torch.equal(*noises)
    assert [noise.std().item() for noise in noises] == pytest.approx([0.01, 0.01], rel=0.2)


@pytest.mark.parametrize("control", ["other_gradient", "noise_gradient"])
def test_a_controls_rounds_follow_from_its_own_updates(
    run: Callable, leaks: list[Leak], dataset: Dataset, control: str
) -> None:
    for name in ("", control):
        run(control=name, budget=3, **ROUNDS)
    true, decoy = leaks
    state = dict(load_victim(VictimSpec(model="lenet_dlg", state="untrained"), dataset).module.named_parameters())
    for sent, later, private in zip((decoy.gradients, decoy.later[0].gradients), decoy.later, true.later, strict=True):
        state = {name: value.detach() - 0.1 * sent[name] for name, value in state.items()}
        for name, value in state.items():
            assert torch.equal(value, later.state[name])
            assert not torch.equal(value, private.state[name])
            assert not torch.equal(later.gradients[name], private.gradients[name])


def test_rounds_that_cannot_be_are_skipped_or_refused(run: Callable) -> None:
    with pytest.raises(ImpossibleCellError, match="goes by one update"):
        run(attack="ratio", model="mlp_cpa", batch_size=1, observations=2)
    with pytest.raises(ImpossibleCellError, match="diverges before round 2; take a smaller server_lr"):
        run(observations=2, server_lr=1e300)
    with pytest.raises(ValidationError, match="needs observations of at least 2"):
        ThreatModel(server_lr=0.1)
    assert not {"observations", "server_lr"} & set(ThreatModel().model_dump())
