"""Watchers and logs: who is told of a trial, what TensorBoard shows of it, and what was printed while it ran."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import gradinv as package
from gradinv.benchmark.executors.trial_log import LONGEST, TrialLog
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.reading import read_records

PLUGIN = '''
import sys, warnings
from gradinv.attacks.attack import Attack
from gradinv.attacks.leak import Reconstruction
from gradinv.attacks.registry import Paper, register_attack

PAPER = Paper(title="Talk", authors="A. Author", venue="arXiv", year=2026, url="https://arxiv.org")

@register_attack("{name}", paper=PAPER)
class Talking(Attack):
    """Prints, warns, and returns noise; or raises."""

    def reconstruct(self, leak, victim, *, seed, budget=None):
        print("loss is 3.25")
        warnings.warn("a step was too long", stacklevel=1)
        if {fails}:
            raise ValueError("no such thing")
        images = leak.gradients[victim.parameter_names[0]].new_zeros(leak.shape)
        return Reconstruction(images=images, final=images, labels=leak.labels, label_method="given")
'''


class Noting:
    """A watcher that notes what it is told."""

    def __init__(self):
        self.told = []

    def run_started(self, awaited):
        self.told.append(awaited)

    def trial_ended(self, record):
        self.told.append(record.cell.key)

    def run_ended(self):
        self.told.append("end")


def suite_of(**changes):
    return {
        "dataset": "photos", "image_size": 16, "victims": [{"model": "lenet_dlg", "state": "untrained"}],
        "attacks": ["dlg", "inverting_gradients"], "controls": ["mean_image"], "batch_sizes": [1], "batches": 1,
        "budget": 4, "metrics": ["psnr"], **changes,
    }  # fmt: skip


def test_a_watcher_is_told_of_every_trial_that_is_run_and_of_none_that_was_done_before(tmp_path):
    first, second = Noting(), Noting()
    for watcher in (first, second):
        package.run(suite_of(), out=tmp_path / "run", device="cpu", watchers=[watcher])
    assert first.told == [3, "dlg", "inverting_gradients", "mean_image", "end"]
    assert second.told == [0, "end"]


def test_a_watcher_is_told_of_the_end_where_the_run_is_stopped(tmp_path):
    class Impatient(Noting):
        def trial_ended(self, record):
            super().trial_ended(record)
            raise KeyboardInterrupt

    watcher = Impatient()
    with pytest.raises(KeyboardInterrupt):
        package.run(suite_of(), out=tmp_path / "run", device="cpu", watchers=[watcher])
    assert watcher.told == [3, "dlg", "end"]


def test_tensorboard_shows_the_curve_its_terms_the_scores_and_the_pictures(run_suite, write_suite, tmp_path):
    suite = write_suite(attacks=["inverting_gradients"], controls="none", budget=5)
    assert run_suite(suite, "--tensorboard").status == 0
    run = RunDirectory(tmp_path / "run")
    (record,), _ = read_records([run.path])
    (folder,) = run.tensorboard.iterdir()
    assert record.id in folder.name
    shown = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    # TensorBoard keeps single precision.
    curve = [(event.step, event.value) for event in shown.Scalars("objective")]
    assert curve == [(step, pytest.approx(value, rel=1e-6)) for step, value in record.curve]
    totals = sum(shown.Scalars(f"terms/{name}")[-1].value for name in record.terms if name != "group")
    assert totals == pytest.approx(record.curve[-1][1], rel=1e-5)
    psnr = record.images[0].metrics["psnr"]
    assert shown.Scalars("scores/psnr")[0].value == pytest.approx(psnr, rel=1e-6)
    assert {tag.split("/")[0] for tag in shown.Tags()["images"]} == {"original", "reconstruction"}


def talking(tmp_path: Path, name: str, *, fails: bool) -> Path:
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(PLUGIN.format(name=name, fails=fails))
    return plugin


@pytest.mark.parametrize(("jobs", "fails"), [(1, False), (1, True), (2, False)])
def test_what_a_plug_in_prints_lies_beside_its_record(gradinv, write_suite, tmp_path, jobs, fails):
    name = f"talking_{jobs}_{fails}".lower()
    suite = write_suite(attacks=[name], controls="none")
    plugin = talking(tmp_path, name, fails=fails)
    gradinv("run", suite, "--plugin", plugin, "--out", tmp_path / "run", "--jobs", jobs, "--no-figures")
    run = RunDirectory(tmp_path / "run")
    (record,), _ = read_records([run.path])
    log = run.log(record.id).read_text()
    assert record.state == ("failed" if fails else "done")
    assert "loss is 3.25\n" in log
    # In this process pytest itself takes the warnings.
    assert ("a step was too long" in log) == (jobs == 2)


def test_a_trial_that_says_nothing_has_no_log(run_suite, write_suite, tmp_path):
    run_suite(write_suite(controls="none"))
    run = RunDirectory(tmp_path / "run")
    assert not list(run.trials.glob("*/log.txt"))


def test_a_log_passes_on_what_it_keeps_and_ends_where_it_is_too_long(capsys):
    log = TrialLog()
    with log.listening():
        print("x" * LONGEST)
    assert capsys.readouterr().out == "x" * LONGEST + "\n"
    assert log.text.startswith("x" * LONGEST)
    assert log.text.endswith("characters]\n")
    assert len(log.text) < LONGEST + 100
