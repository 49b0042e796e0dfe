"""A row is run again by a suite of the very trials it was made from, and `leaderboard` writes what it promises."""

import shlex

import pytest
import yaml

from gradinv.benchmark.runs.plan import Planner
from gradinv.benchmark.runs.prepare import without_training
from gradinv.benchmark.runs.rerun import rerun_of
from gradinv.benchmark.runs.suite import load_suite
from gradinv.metrics.records.reading import read_records


@pytest.fixture
def trials(run_suite, write_suite, tmp_path):
    """The records of a run of `dlg[lr=0.5]` under a defense with two controls, as `{control or "": trials}`."""
    run_suite(
        write_suite(
            attacks=["dlg[lr=0.5]"],
            controls=["other_gradient", "mean_image"],
            defenses=["gaussian_noise[sigma=0.1]"],
            threat_model={"labels": "none"},
            batches=2,
            batch_sizes=[2],
        )
    )
    by_control = {}
    for record in read_records([tmp_path / "run"])[0]:
        by_control.setdefault(record.spec["control"], []).append(record)
    return by_control


def test_a_rerun_plans_the_same_trials(trials, tmp_path):
    made = rerun_of("again", trials[""], ["other_gradient", "mean_image"])
    (tmp_path / "again.yaml").write_text(made.suite, encoding="utf-8")
    planner = Planner(device="cpu", download=False)
    plan = without_training(planner.plan(load_suite(tmp_path / "again.yaml"), ""))
    assert {trial.id for trial in plan.trials} == {trial.id for runs in trials.values() for trial in runs}
    assert made.options == ("--device cpu", "--engine eager", "--together 8")


def test_a_rerun_names_what_only_the_reader_has(trials):
    spec = {**trials[""][0].spec, "sources": {"attack mine": "0123"}, "budget": None, "precision": "bf16"}
    spec["victim"] = {**spec["victim"], "state": "trained", "weights": "/somewhere/weights.safetensors"}
    made = rerun_of("again", [trials[""][0].model_copy(update={"spec": spec})], [])
    suite = yaml.safe_load(made.suite)
    assert made.options == ("--plugin FILE", "--device cpu", "--engine eager", "--together 8", "--precision bf16")
    assert suite["victims"][0]["weights"] == "weights.safetensors"
    assert (suite["budget"], suite["controls"]) == ("paper", "none")


@pytest.mark.parametrize("name", ["device", "engine", "together", "precision"])
def test_what_a_stranger_s_record_says_is_quoted_for_the_shell(trials, name):
    spec = {**trials[""][0].spec, name: "cpu; rm -r ~ $(x)"}
    made = rerun_of("again", [trials[""][0].model_copy(update={"spec": spec})], [])
    assert shlex.split(" ".join(made.options)).count("cpu; rm -r ~ $(x)") == 1


def test_records_without_specification_have_no_rerun(trials):
    assert rerun_of("again", [trials[""][0].model_copy(update={"spec": {}})], []) is None


def test_leaderboard_writes_latex_and_html(gradinv, trials, tmp_path):
    result = gradinv("leaderboard", tmp_path / "run", "--latex", tmp_path / "b.tex", "--html", tmp_path / "report")
    assert result.status == 0
    assert result.out.splitlines()[-1] == str(tmp_path / "report" / "index.html")
    assert r"\texttt{dlg[lr=0.5]}" in (tmp_path / "b.tex").read_text(encoding="utf-8")
    assert list((tmp_path / "report" / "pictures").iterdir())
    (page,) = (tmp_path / "report" / "rows").glob("dlg*.html")
    assert "the mean of the training images" in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert f"gradinv run {page.stem}.yaml --device cpu" in page.read_text(encoding="utf-8")


def test_a_folder_of_something_else_is_refused_in_one_line(gradinv, trials, tmp_path):
    result = gradinv("leaderboard", tmp_path / "run", "--html", tmp_path)
    assert result.status == 2
    assert result.err == f"gradinv: {tmp_path} holds other files than a report of gradinv; give another folder\n"
