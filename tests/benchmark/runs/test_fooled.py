"""Attempts to fool the benchmark: what stands on a board was run as its row says, whoever ran what in between."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from gradinv.benchmark.executors import jobs
from gradinv.benchmark.victims.networks import build_network
from gradinv.metrics.records.reading import read_records

ATTACK = '''
import torch
from gradinv.attacks.attack import Attack
from gradinv.attacks.dlg import ZHU_2019
from gradinv.attacks.leak import Reconstruction
from gradinv.attacks.registry import register_attack

@register_attack("mine", paper=ZHU_2019)
class Mine(Attack):
    """An attack that returns the same images whatever it sees."""

    def reconstruct(self, leak, victim, *, seed, budget=None):
        images = torch.zeros(leak.shape)
        spent = 1
        BODY
        labels = torch.zeros(leak.batch_size, dtype=torch.int64)
        return Reconstruction(images, images, labels, "given", evaluations=spent)

    def prior_only(self):
        return Mine()
'''
GREY = "pass"
BRIGHT = "images = images + 0.2"


@pytest.fixture
def plugin(tmp_path):
    """Writes the plug-in with that body; the same file each time."""

    def write(body: str) -> Path:
        path = tmp_path / "mine.py"
        path.write_text(ATTACK.replace("BODY", body), encoding="utf-8")
        return path

    return write


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def measured(directory: Path) -> dict[str, tuple]:
    """Trial -> what was measured of it, and its pictures' bytes."""
    records, faults = read_records([directory])
    assert faults == []
    tensors = {path.parent.name: path.read_bytes() for path in directory.glob("trials/*/tensors.safetensors")}
    return {r.id: (r.state, r.evaluations, r.objective_end, r.images, tensors.get(r.id)) for r in records}


@pytest.fixture
def run_mine(run_suite, write_suite, plugin, monkeypatch):
    """Runs the plug-in with that body and these settings in the one run directory."""

    def run(body: str, *arguments: object, **settings: object):
        # A fresh import, as in the fresh process of a user's next command.
        from gradinv.attacks.registry import ATTACKS

        ATTACKS._entries.pop("mine", None)
        suite = write_suite(**({"attacks": ["mine"], "controls": "all", "batches": 3} | settings))
        return run_suite(suite, "--plugin", plugin(body), *arguments)

    return run


def test_an_edited_attack_does_not_stand_beside_the_controls_of_the_old_one(run_mine, gradinv, tmp_path):
    assert run_mine(BRIGHT).status == 0
    result = run_mine(GREY, controls="none")
    assert "records of other suites or specifications are not on this board" in result.out
    (board,) = rows(tmp_path / "run" / "leaderboard.csv")
    assert (board["works"], board["leaks"], board["psnr_gain_mean"]) == ("false", "", "")
    assert "no control has values for these batches" in board["notes"]
    gradinv("leaderboard", tmp_path / "run", "--csv", tmp_path / "all.csv")
    attacks = [row for row in rows(tmp_path / "all.csv") if row["attack"] == "mine"]
    assert len({row["specification"] for row in attacks}) == 2
    edited = next(row for row in attacks if row["specification"] == board["specification"])
    assert (edited["leaks"], edited["best_control"]) == ("", "")
    assert "not compared with other_gradient: it was run with other sources" in edited["notes"]


def test_what_attacks_nothing_is_shared_and_what_attacks_is_not(run_mine, gradinv, tmp_path):
    run_mine(BRIGHT, controls=["mean_image"])
    run_mine(GREY, controls="none")
    gradinv("leaderboard", tmp_path / "run", "--csv", tmp_path / "all.csv")
    attacks = [row for row in rows(tmp_path / "all.csv") if row["attack"] == "mine"]
    assert [row["best_control"] for row in attacks] == ["mean_image"] * 2


def test_a_suite_run_again_after_another_gets_its_own_board_back(run_suite, write_suite, tmp_path):
    board = tmp_path / "run" / "leaderboard.images.csv"
    suite = write_suite(batches=2)
    run_suite(suite)
    before = board.read_bytes()
    run_suite(suite, "--set", "budget=7")
    assert board.read_bytes() != before
    run_suite(suite)
    assert board.read_bytes() == before


def test_two_weight_files_of_one_name_are_two_rows(run_suite, write_suite, gradinv, tmp_path):
    for seed, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        module = build_network("lenet_dlg", num_classes=8, image_size=32, seed=seed, untrained=True)
        save_file(module.state_dict(), tmp_path / folder / "w.safetensors")
        victim = {"model": "lenet_dlg", "state": "trained", "weights": str(tmp_path / folder / "w.safetensors")}
        assert run_suite(write_suite(victims=[victim])).status == 0
    gradinv("leaderboard", tmp_path / "run", "--csv", tmp_path / "all.csv")
    found = rows(tmp_path / "all.csv")
    assert len(found) == len({row["specification"] for row in found}) == 2
    assert {row["n_batches"] for row in found} == {"1"}


def write_images(folder: Path, seed: int) -> None:
    random = np.random.RandomState(seed)
    for name in ("cats", "dogs"):
        (folder / "test" / name).mkdir(parents=True, exist_ok=True)
        for index in range(4):
            pixels = random.randint(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "test" / name / f"{index}.png")


def test_images_replaced_between_attack_and_controls_are_not_paired(run_suite, write_suite, gradinv, tmp_path):
    pets = tmp_path / "data" / "pets"
    settings = {"dataset": "pets", "image_size": 16, "batches": 2}
    write_images(pets, 0)
    assert run_suite(write_suite(controls=["mean_image"], **settings)).status == 0
    write_images(pets, 1)
    jobs._dataset.cache_clear()  # as in the fresh process of a user's next command
    assert run_suite(write_suite(controls="none", **settings)).status == 0
    gradinv("leaderboard", tmp_path / "run", "--csv", tmp_path / "all.csv")
    first, second = (row for row in rows(tmp_path / "all.csv") if row["attack"] == "dlg")
    assert first["specification"] != second["specification"]
    gains = [row["psnr_gain_mean"] for row in (first, second)]
    assert sorted(bool(gain) for gain in gains) == [False, True]


def test_swapped_weights_are_noticed(run_suite, write_suite, tmp_path):
    suite = write_suite()
    assert run_suite(suite).status == 0
    (weights,) = (tmp_path / "run" / "victims").iterdir()
    module = build_network("lenet_dlg", num_classes=8, image_size=32, seed=9, untrained=True)
    save_file(module.state_dict(), weights)
    shutil.rmtree(tmp_path / "run" / "trials")
    jobs._module.cache_clear()  # as in the fresh process of a user's next command
    result = run_suite(suite)
    assert result.status == 1
    assert "does not hold the weights that its name says" in result.out


@pytest.mark.parametrize(
    ("body", "state", "words"),
    [
        ("images[:, :, :8] = float('nan')", "diverged", "25.0% of the returned values are not finite"),
        ("spent = 10 ** 6", "failed", "the attack spent 1000000 evaluations, its budget is 5"),
        ("spent = -3", "failed", "-3 evaluations, which is no count"),
        ("images = images[:, :1]", "failed", "the attack returned images of shape"),
    ],
)
def test_results_that_cannot_be_are_no_results(run_mine, tmp_path, body, state, words):
    run_mine(body, controls="none", batches=1)
    (record,), _ = read_records([tmp_path / "run"])
    assert record.state == state
    assert words in " ".join([record.reason, *record.notes])


def test_switches_that_an_attack_turns_do_not_reach_later_trials(run_mine, run_suite, write_suite, tmp_path):
    alone = {"attacks": ["dlg"], "controls": "none", "batches": 2}
    run_suite(write_suite(**alone), out=tmp_path / "alone")
    body = "torch.set_grad_enabled(False); torch.set_default_dtype(torch.float64); torch.manual_seed(seed % 1000)"
    run_mine(body, **(alone | {"attacks": ["mine", "dlg"]}))
    after = measured(tmp_path / "run")
    assert torch.is_grad_enabled()
    assert measured(tmp_path / "alone").items() <= after.items()


@pytest.mark.parametrize("how", ["half", "limit", "shards"])
def test_a_trial_has_the_same_bits_however_the_run_was_cut(run_suite, write_suite, tmp_path, how):
    suite = write_suite(attacks=["dlg", "idlg"], controls=["other_gradient"], batches=3, budget=60)
    run_suite(suite)
    whole = measured(tmp_path / "run")
    cut = tmp_path / "cut"
    if how == "half":
        shutil.copytree(tmp_path / "run", cut)
        for folder in sorted((cut / "trials").iterdir())[::2]:
            shutil.rmtree(folder)
    elif how == "limit":
        run_suite(suite, "--limit", 1, out=cut)
    else:
        run_suite(suite, "--shard", "1/5", out=cut)
        run_suite(suite, "--shard", "3/5", out=cut)
    run_suite(suite, out=cut)
    assert measured(cut) == whole
