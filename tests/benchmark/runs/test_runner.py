"""A run: what is said on the way, what is written at the end, and how shards share the work."""

import csv
import shutil

import pytest
from rich.console import Console

from gradinv.benchmark.executors import run_here
from gradinv.benchmark.runs import runner
from gradinv.benchmark.runs.runner import RunOptions, default_jobs, run_plan, write_results
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.reading import RecordsError


def rows_of(path):
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_line_for_each_trial_where_output_is_no_terminal(run_suite, write_suite):
    result = run_suite(write_suite(attacks=["dlg", "idlg"], controls=["prior_only", "mean_image"]))
    lines = result.err.splitlines()
    assert result.status == 0
    assert [line.split()[0] for line in lines] == [f"[{number}/5]" for number in range(1, 6)]
    assert "done lenet_dlg none B=1 dlg batch 0: PSNR" in lines[0]
    assert "5 evaluations" in lines[0]
    assert "skipped lenet_dlg none B=1 prior_only of dlg batch 0: the attack has no prior" in lines[1]


def test_what_a_run_says_and_writes(run_suite, write_suite, tmp_path):
    result = run_suite(write_suite(controls=["other_gradient", "same_class"], batches=2))
    assert "suite tiny: 6 trials, 0 done before, 6 to run" in result.out
    assert "6 records; wrote" in result.out
    assert result.out.rstrip().endswith("6 done")
    directory = tmp_path / "run"
    assert {path.name for path in directory.iterdir()} == {
        "leaderboard.csv", "leaderboard.images.csv", "suite.json", "trials", "victims"
    }  # fmt: skip
    rows = rows_of(directory / "leaderboard.csv")
    assert [row["attack"] for row in rows] == ["dlg", "other_gradient", "same_class"]
    assert {row["n_batches"] for row in rows} == {"2"}


def test_running_again_runs_nothing_and_changes_no_board(run_suite, write_suite, tmp_path, tools):
    suite = write_suite(attacks=["dlg", "idlg"], batches=2)
    run_suite(suite)
    boards = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.csv")}
    files = tools.files_of(tmp_path / "run")
    again = run_suite(suite)
    assert "4 done before, 0 to run" in again.out
    assert again.err == ""
    assert tools.files_of(tmp_path / "run") == files
    assert {path: path.read_bytes() for path in boards} == boards


def test_failures_are_named_and_the_status_is_1(run_suite, write_suite, tools, tmp_path):
    plugin = tools.make_plugin(tmp_path / "unlucky.py", "unlucky")
    attacks = ["unlucky[accident=raise]", "unlucky[accident=oom]", "dlg"]
    result = run_suite(write_suite(attacks=attacks), "--plugin", plugin)
    assert result.status == 1
    assert "failed lenet_dlg none B=1 unlucky[accident=raise] batch 0: RuntimeError: no luck today" in result.out
    assert "oom lenet_dlg none B=1 unlucky[accident=oom] batch 0" in result.out
    assert result.out.rstrip().endswith("1 done, 1 failed, 1 oom")


def test_the_board_names_the_reason_of_a_failure_without_its_traceback(run_suite, write_suite, tools, tmp_path):
    plugin = tools.make_plugin(tmp_path / "hapless.py", "hapless")
    run_suite(write_suite(attacks=["hapless[accident=raise]"]), "--plugin", plugin)
    row = rows_of(tmp_path / "run" / "leaderboard.csv")[0]
    assert (row["state"], row["n_failed"]) == ("failed", "1")
    assert "no luck today" in row["notes"]
    assert "Traceback" not in row["notes"]


def test_shards_together_make_the_whole(run_suite, write_suite, tmp_path, tools):
    suite = write_suite(attacks=["dlg", "idlg"], controls=["noise_gradient", "mean_image"], batches=3)
    run_suite(suite, out=tmp_path / "uncut")
    first = run_suite(suite, "--shard", "1/2", out=tmp_path / "parts")
    assert "8 trials, 0 done before" in first.out
    second = run_suite(suite, "--shard", "2/2", out=tmp_path / "parts")
    assert "7 trials, 0 done before" in second.out
    images = "leaderboard.images.csv"
    assert (tmp_path / "parts" / images).read_bytes() == (tmp_path / "uncut" / images).read_bytes()
    assert set(tools.files_of(tmp_path / "parts")) == set(tools.files_of(tmp_path / "uncut"))


def test_a_shard_without_trials(run_suite, write_suite):
    result = run_suite(write_suite(), "--shard", "2/2")
    assert (result.status, result.err) == (0, "")
    assert "this shard has no trials" in result.out


@pytest.mark.parametrize(("valid", "wrong"), [('"id": "', '"id": "0'), ("{", ""), ('"done"', '"perfect"')])
def test_a_record_that_cannot_be_read_is_made_again(run_suite, write_suite, tmp_path, tools, valid, wrong):
    suite = write_suite(attacks=["dlg", "idlg"])
    run_suite(suite)
    path = next(RunDirectory(tmp_path / "run").trials.glob("*/record.json"))
    path.write_text(path.read_text(encoding="utf-8").replace(valid, wrong, 1), encoding="utf-8")
    result = run_suite(suite)
    assert "1 done before, 1 to run" in result.out
    assert result.status == 0
    assert {record.state for record in tools.records_by_label(tmp_path / "run").values()} == {"done"}


@pytest.fixture
def disturbed_run(make_plan, run_directory, monkeypatch):
    """Runs a suite of three trials, with an accident after some of them; (exit status, what was said)."""

    def run(accident, after):
        plan, console = make_plan(attacks=["dlg", "idlg", "inverting_gradients"]), Console(record=True, width=200)

        def disturbed(jobs):
            for number, record in enumerate(run_here(jobs), start=1):
                yield record
                if number == after:
                    accident(record)

        monkeypatch.setattr(runner, "run_here", disturbed)
        status = run_plan(plan, RunOptions(run_directory, jobs=1, figures=False), console).status
        return status, " ".join(console.export_text().split())

    return run


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_a_run_whose_directory_was_deleted_says_how_many_trials_are_missing(disturbed_run, run_directory, lost):
    status, output = disturbed_run(lambda record: shutil.rmtree(run_directory.trials), lost)
    assert status == 1
    assert f"{lost} of 3 trials have no readable record; run the same command again" in output
    status, output = disturbed_run(lambda record: None, 0)
    assert status == 0
    assert f"3 trials, {3 - lost} done before, {lost} to run" in output
    assert output.endswith("3 done")


def test_a_run_ends_with_what_can_be_read_not_with_what_was_run(disturbed_run, run_directory):
    status, output = disturbed_run(lambda record: run_directory.record(record.id).write_text("{", encoding="utf-8"), 2)
    assert status == 1
    assert "is no valid JSON" in output
    assert output.endswith("1 of 3 trials have no readable record; run the same command again 2 done")


def test_figures_and_sheets_at_the_end(gradinv, write_suite, tmp_path):
    result = gradinv("run", write_suite(controls=["mean_image"]), "--out", tmp_path / "run", "--jobs", 1)
    drawn = list((tmp_path / "run" / "figures").rglob("*.*"))
    assert result.status == 0
    assert drawn
    assert f"{len(drawn)} figures in" in result.out


def test_results_of_a_directory_without_trials(tmp_path):
    with pytest.raises(RecordsError, match="holds no trials"):
        write_results(RunDirectory(tmp_path), set(), Console(quiet=True))


def test_how_many_workers_suit_the_machine():
    assert 1 <= default_jobs("cpu") <= 8
    assert default_jobs("cuda") == 1


def test_the_contrasts_of_a_suite_are_kept_and_drawn(run_suite, write_suite, gradinv, tmp_path):
    contrasts = [{"name": "without labels", "attack": "dlg", "against": "idlg"}]
    run_suite(write_suite(attacks=["dlg", "idlg"], batches=2, contrasts=contrasts))
    drawn = gradinv("plot", tmp_path / "run", "--out", tmp_path / "figures")
    assert drawn.status == 0
    rows = {row["metric"]: row for row in rows_of(tmp_path / "figures" / "ablation-1.csv")}
    assert list(rows) == ["psnr", "structure", "identity_lowpass"]
    row = rows["psnr"]
    assert (row["contrast"], row["attack"], row["against"], row["n_batches"]) == ("without labels", "dlg", "idlg", "2")
    board = {row["attack"]: float(row["psnr_mean"]) for row in rows_of(tmp_path / "run" / "leaderboard.csv")}
    assert float(row["gain"]) == pytest.approx(board["dlg"] - board["idlg"])


def test_a_broken_suite_in_a_run_directory_is_named(run_suite, write_suite, gradinv, tmp_path):
    run_suite(write_suite())
    (tmp_path / "run" / "suite.json").write_text("{", encoding="utf-8")
    result = gradinv("plot", tmp_path / "run", "--out", tmp_path / "figures")
    assert result.status == 2
    assert "suite.json is no suite of gradinv; delete it" in result.err
