"""The tables of attacks in docs/attacks.md: no attack is missing, and what they quote of boards stands there."""

import re
from pathlib import Path

import pandas as pd
import pytest

from gradinv.attacks.registry import ATTACKS

ROOT = Path(__file__).parents[3]
ONE_IMAGE = {"batch_size": 1, "victim": "lenet_dlg"}
QUOTED = [
    ("dlg", "17.9 dB", "cifar10-identity", "psnr_mean", {"attack": "dlg", **ONE_IMAGE}),
    ("idlg", "19.4 dB", "cifar10-identity", "psnr_mean", {"attack": "idlg", **ONE_IMAGE}),
    ("idlg", "100 %", "cifar10-identity", "label_accuracy_mean", {"attack": "idlg", **ONE_IMAGE}),
    *(
        ("inverting_gradients", f"{psnr} dB" if equal == 4 else f"{psnr} and", "threat-models-equal-labels",
         "psnr_mean", {"attack": "inverting_gradients", "equal_labels": equal, "victim_seed": 0})
        for equal, psnr in ((1, 13.6), (4, 13.1))
    ),
    ("april_matching", "10.5 dB", "april-matching", "psnr_mean",
     {"attack": "april_matching", "preset": "", "victim": "test_vit"}),
    ("gradinversion", "8.0 dB", "pretrained-imagenet1000", "psnr_mean",
     {"attack": "gradinversion", "bn_statistics": "exact", "batch_size": 1}),
]  # fmt: skip


def rows() -> dict[str, str]:
    """Attack -> its line in one of the tables whose last column is ours."""
    text = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\|[^\n]*\| ours \|\n\|[-|]+\|\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    lines = "".join(tables).splitlines()
    return {re.findall(r"`(\w+)`", line)[0]: line for line in lines}


def test_every_attack_has_a_line() -> None:
    # Not those of plug-ins that other tests have registered.
    ours = {name for name in ATTACKS.names() if ATTACKS.get(name).target.__module__.startswith("gradinv.attacks.")}
    assert set(rows()) == ours


@pytest.mark.parametrize(("attack", "quoted", "board", "column", "where"), QUOTED)
def test_what_is_quoted_of_a_board_stands_there(
    attack: str, quoted: str, board: str, column: str, where: dict[str, object]
) -> None:
    table = pd.read_csv(ROOT / "leaderboards" / f"{board}.csv").fillna({"preset": ""})
    for name, value in where.items():
        table = table[table[name] == value]
    (value,) = table[~table["is_control"]][column]
    number = float(re.findall(r"[\d.]+", quoted)[0])
    assert round(100 * value if "%" in quoted else value, 1) == number
    assert quoted in rows()[attack].split("|")[3]
