"""Preset files: what is written is what is read, what was changed is refused, and the names of others stay theirs."""

import pytest

from gradinv.attacks.registry import create_attack, parse_key, tuned_hash
from gradinv.benchmark.plugins import load_plugin
from gradinv.benchmark.tuning.preset_file import PresetFile, Provenance, read_preset, write_preset
from gradinv.metrics.registry import InvalidEntryError, UnknownNameError

PROVENANCE = Provenance(
    of="dlg", dataset="photos", image_size=16, split="tuning", data_hash="d", victim={"model": "lenet_dlg"},
    victim_state="untrained", weights_hash="w", defense="none", threat_model={"labels": "known"}, batch_size=1,
    batches=2, budget=None, objective="psnr", trials=3, pruned=1, evaluations=30, seed=0, best=9.1, median=8.0,
    published=7.5, space={"lr": (0.1, 10.0)}, versions={"torch": "2"},
)  # fmt: skip


@pytest.fixture
def preset():
    return PresetFile(
        attack="dlg", preset="quicker", hyperparameters={"lr": 0.1 + 0.2, "restarts": 2}, tuning=PROVENANCE
    )


def test_what_is_written_is_read_and_registered(preset, tmp_path):
    path = tmp_path / "quicker.yaml"
    write_preset(preset, path)
    assert read_preset(path) == preset.model_copy(update={"hash": preset.content_hash})
    for _ in range(2):  # a worker of this process, or a cell that is run again
        load_plugin(path)
    made = create_attack("dlg.quicker")
    assert (made.hyperparameters["lr"], made.hyperparameters["restarts"]) == (0.1 + 0.2, 2)
    assert tuned_hash(parse_key("dlg.quicker")) == preset.content_hash
    # What changes a hyperparameter is not what was tuned.
    assert tuned_hash(parse_key("dlg.quicker[lr=1.0]")) == tuned_hash(parse_key("dlg")) == ""
    assert tuned_hash(parse_key("gradinversion.no_bn")) == ""


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("restarts: 2", "restarts: 3", "was changed after gradinv tune wrote it"),
        ("best: 9.1", "best: 99.1", "was changed after gradinv tune wrote it"),
        ("trials: 3", "trials: many", "tuning.trials: Input should be a valid integer"),
        ("attack: dlg", "attacks: dlg", "attack: Field required"),
        ("attack: dlg", "attack: [", "cannot be read"),
    ],
)
def test_what_is_no_preset_or_was_changed_is_refused_in_one_line(preset, tmp_path, old, new, reason):
    path = tmp_path / "quicker.yaml"
    write_preset(preset, path)
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InvalidEntryError, match="preset file") as refused:
        load_plugin(path)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InvalidEntryError, match=r"none\.yaml cannot be read: "):
        load_plugin(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attack": "inverting_gradients", "preset": "cifar"}, "'inverting_gradients.cifar' is registered twice"),
        ({"hyperparameters": {"speed": 1.0}}, "unknown parameter of attack 'dlg' 'speed'"),
        ({"attack": "dgl"}, "unknown attack 'dgl'"),
    ],
)
def test_names_and_hyperparameters_are_checked_before_any_trial(preset, tmp_path, changes, reason):
    path = tmp_path / "preset.yaml"
    write_preset(preset.model_copy(update=changes), path)
    with pytest.raises((InvalidEntryError, UnknownNameError)) as refused:
        load_plugin(path)
    assert reason in str(refused.value)
