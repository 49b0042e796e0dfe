"""What people call from Python: it is what the command does, it is imported late, and results show themselves."""

import ast
import inspect
import linecache
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

import gradinv
from gradinv.attacks.registry import ATTACKS
from gradinv.benchmark.experiment import ImpossibleCellError
from gradinv.metrics.images import score_images
from gradinv.metrics.records.reading import read_records
from gradinv.metrics.registry import RequestError

CHECKOUT = Path(__file__).parents[3]
SUITE = {
    "name": "small",
    "image_size": 16,
    "victims": [{"model": "lenet_dlg", "state": "untrained"}],
    "attacks": ["dlg", "inverting_gradients"],
    "controls": ["prior_only"],
    "batches": 2,
    "budget": 5,
    "metrics": ["psnr"],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return gradinv.run(SUITE, out=tmp_path_factory.mktemp("run"))


def test_importing_it_imports_nothing_heavy():
    code = (
        "import sys, gradinv; dir(gradinv); "
        "assert not {'torch', 'pandas', 'numpy', 'matplotlib', 'pydantic'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_can_be_had_is_typed_and_is_documented():
    page = (CHECKOUT / "docs" / "python.md").read_text(encoding="utf-8")
    for name in gradinv.__all__:
        value = getattr(gradinv, name)
        if inspect.isfunction(value):
            assert f"`{name}(" in page
            parameters = inspect.signature(value).parameters.values()
            assert all(parameter.annotation is not parameter.empty for parameter in parameters)


def test_what_a_type_checker_reads_is_what_there_is():
    stub = ast.parse((CHECKOUT / "facade" / "__init__.pyi").read_text(encoding="utf-8"))
    names = {alias.asname for node in stub.body for alias in node.names}
    assert names == set(gradinv.__all__)


def test_a_run_is_what_the_command_would_have_written(run, write_suite, run_suite, tmp_path):
    suite = write_suite(**SUITE)
    assert run_suite(suite).status == 0
    by_command = read_records([tmp_path / "run"])[0]
    assert [record.id for record in run.records] == [record.id for record in by_command]
    assert [record.images for record in run.records] == [record.images for record in by_command]


def test_the_tables_of_a_run_are_its_files(run):
    (path,) = run.paths
    board = gradinv.load_board(path / "leaderboard.csv")
    pd.testing.assert_frame_equal(board, run.board)
    pd.testing.assert_frame_equal(gradinv.load_board(path / "leaderboard.images.csv"), run.images)
    assert board["n_batches"].sum() == 6
    pd.testing.assert_frame_equal(gradinv.load_run(path).board, run.board)


def test_a_trial_is_one_of_the_run(run):
    record = next(r for r in run.records if r.cell.key == "inverting_gradients" and r.repetition == 1)
    done = gradinv.trial(
        "inverting_gradients", model="lenet_dlg", image_size=16, repetition=1, budget=5, metrics=["psnr"]
    )
    assert done.record.id == record.id
    assert done.record.images == record.images
    psnr = score_images(done.reconstructions, done.originals, ["psnr"]).values["psnr"]
    assert psnr.tolist() == done.scores["psnr"].tolist()


def test_a_control_is_a_trial_too(run):
    record = next(r for r in run.records if r.cell.key == "prior_only of inverting_gradients" and r.repetition == 0)
    done = gradinv.trial(
        "inverting_gradients", model="lenet_dlg", image_size=16, control="prior_only", budget=5, metrics=["psnr"]
    )
    assert done.record.id == record.id


def test_an_impossible_trial_says_why():
    with pytest.raises(ImpossibleCellError, match="running statistics of an untrained"):
        gradinv.trial("gradinversion", model="resnet18", image_size=16, budget=10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attack": "dgl"}, "did you mean dlg"),
        ({"attack": "dlg", "model": "lenet_dgl"}, "lenet_dlg"),
        ({"attack": "dlg", "dataset": "photo"}, "photos"),
        ({"attack": "dlg", "budget": -1}, "budget"),
        ({"attack": "dlg", "control": "prior"}, "prior_only"),
    ],
)
def test_a_wrong_request_is_one_line(fields, message):
    with pytest.raises(RequestError, match=message) as raised:
        gradinv.trial(**fields)
    assert "\n" not in str(raised.value)


def test_a_comparison_has_its_verdict_and_its_table(run):
    found = gradinv.compare(run, attack="inverting_gradients", against="dlg")
    assert found.verdicts == [
        "inverting_gradients against dlg: no verdict: 2 common batches, 8 are the fewest that allow one"
    ]
    (row,) = found.table[found.table["metric"] == "psnr"].to_dict("records")
    board = run.board[run.board["is_control"] == "false"].set_index("attack")["psnr_mean"]
    assert row["gain"] == pytest.approx(board["inverting_gradients"] - board["dlg"])
    assert gradinv.compare(
        run.paths[0] / "leaderboard.images.csv", attack="dlg", against="inverting_gradients"
    ).findings


def test_a_figure_is_handed_over_and_not_written(run):
    before = sorted(run.paths[0].rglob("*"))
    assert isinstance(gradinv.plot(run), Figure)
    assert isinstance(gradinv.plot(run.paths[0], "images"), Figure)
    assert sorted(run.paths[0].rglob("*")) == before
    with pytest.raises(RequestError, match="did you mean quality"):
        gradinv.plot(run, "qualty")
    with pytest.raises(RequestError, match="no figure of kind defenses in these records: it needs a setting under two"):
        gradinv.plot(run, "defenses")


def test_results_show_themselves_and_their_words_are_escaped(run):
    html = run._repr_html_()
    assert "inverting_gradients" in html
    assert html.count("data:image/png;base64,") == 1
    done = gradinv.trial("dlg", model="lenet_dlg", image_size=16, batch_size=2, budget=2, metrics=["psnr"])
    assert done._repr_html_().count("data:image/png;base64,") == 4
    spoiled = [r.model_copy(update={"cell": r.cell.model_copy(update={"dataset": "<script>"})}) for r in run.records]
    assert "<script>" not in gradinv.Run(run.paths, spoiled)._repr_html_()


def test_images_from_elsewhere_are_matched_and_scored():
    originals = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8)
    scores = gradinv.evaluate(originals[[2, 0, 1]], originals, ["psnr"])
    assert scores["reconstruction"].tolist() == [1, 2, 0]
    assert np.isinf(scores["psnr"]).all()
    as_they_stand = gradinv.evaluate(torch.from_numpy(originals[::-1].copy()), originals, ["psnr"], matched=True)
    assert np.isinf(as_they_stand["psnr"]).tolist() == [False, True, False]
    assert len(gradinv.evaluate(originals[0], originals[0])) == 1
    with pytest.raises(ValueError, match=r"\(2, 3, 16, 16\)"):
        gradinv.evaluate(originals[:2], originals)


CELL = '''
from gradinv.attacks.dlg import DLG, ZHU_2019
from gradinv.attacks.registry import register_attack

@register_attack("of_a_cell", paper=ZHU_2019)
class OfACell(DLG):
    """DLG."""

    def __init__(self, *, lr: float = LR) -> None:
        super().__init__(lr=lr)
'''


def test_an_attack_of_a_notebook_is_known_by_its_cell(monkeypatch):
    """A session's module has no file; its cells stand in linecache, as IPython keeps them."""
    session = types.ModuleType("session")
    monkeypatch.setitem(sys.modules, "session", session)
    ids = []
    for number, lr in enumerate(("1.0", "1.0", "0.5")):
        text = CELL.replace("LR", lr)
        monkeypatch.setitem(linecache.cache, f"<{number}>", (len(text), None, text.splitlines(True), f"<{number}>"))
        exec(compile(text, f"<{number}>", "exec"), session.__dict__)
        done = gradinv.trial("of_a_cell", model="lenet_dlg", image_size=16, budget=1, metrics=["psnr"])
        ids.append(done.record.id)
    del ATTACKS._entries["of_a_cell"]
    assert ids[0] == ids[1] != ids[2]
