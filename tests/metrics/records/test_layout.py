"""The run directory: every name in it, once."""

from pathlib import Path

from gradinv.metrics.records.layout import RunDirectory


def test_where_everything_lies():
    run = RunDirectory(Path("runs"))
    assert {name: path.as_posix() for name, path in {
        "trials": run.trials,
        "trial": run.trial("a1"),
        "record": run.record("a1"),
        "tensors": run.tensors("a1"),
        "additions": run.additions("a1"),
        "victims": run.victims,
        "weights": run.weights("b2"),
        "suite": run.suite,
        "board": run.board,
        "images": run.images,
        "figures": run.figures,
    }.items()} == {
        "trials": "runs/trials",
        "trial": "runs/trials/a1",
        "record": "runs/trials/a1/record.json",
        "tensors": "runs/trials/a1/tensors.safetensors",
        "additions": "runs/trials/a1/additions.json",
        "victims": "runs/victims",
        "weights": "runs/victims/b2.safetensors",
        "suite": "runs/suite.json",
        "board": "runs/leaderboard.csv",
        "images": "runs/leaderboard.images.csv",
        "figures": "runs/figures",
    }  # fmt: skip


def test_asking_makes_nothing(tmp_path):
    assert not RunDirectory(tmp_path / "run").record("a1").exists()
    assert list(tmp_path.iterdir()) == []
