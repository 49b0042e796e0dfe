"""The findings of an audit in sentences."""

from types import SimpleNamespace

from gradinv.benchmark.audit import words
from gradinv.benchmark.audit.findings import DefenseFinding
from gradinv.metrics.boards import BoardLine


def line(key, gain):
    cell = SimpleNamespace(key=key, adaptive=False, batch_size=1)
    row = {"psnr_mean": 20.0, "psnr_gain_mean": gain, "leaks": "", "from_gradient": "", "from_statistics": ""}
    return BoardLine(cell, row, trials=())


def test_an_attack_whose_controls_were_not_run_is_not_the_one_that_shows_most():
    uncontrolled, controlled = line("idlg", None), line("dlg", 3.0)
    for lines in ((uncontrolled, controlled), (controlled, uncontrolled)):
        assert words._row(DefenseFinding("none", lines)).strongest == "dlg: 20.0 dB, its best control 17.0 dB"
    assert words._row(DefenseFinding("none", (uncontrolled,))).strongest == "idlg"
