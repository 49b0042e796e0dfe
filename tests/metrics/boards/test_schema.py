"""The published page of columns is the one that the code prints, and the published tables have these columns."""

import csv
from pathlib import Path

import pandas as pd
import pytest

from gradinv.benchmark.commands.show import granted_levels
from gradinv.metrics.boards.columns import (
    DETAILS,
    LETTER,
    SHARES,
    UTILITY,
    VICTIM,
    image_columns,
    leaderboard_columns,
)
from gradinv.metrics.boards.label_table import LABEL_BATCH_COLUMNS, LABEL_COLUMNS
from gradinv.metrics.boards.schema import schema_page
from gradinv.metrics.images.facts import board_metrics
from gradinv.metrics.images.ranks import judge_of
from gradinv.metrics.images.scoring import METRICS

BOARDS = Path(__file__).parents[3] / "leaderboards"
NAMES = sorted(path.stem for path in BOARDS.glob("*.yaml"))


def header_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


def requested(names, but):
    """What a suite asked for, or a network measured, in order."""
    return [name for name in names if (judge_of(name) or name in METRICS) and name not in but]


def test_the_published_page_is_what_the_command_prints():
    published = (BOARDS / "schema.md").read_text(encoding="utf-8")
    assert published == schema_page(granted_levels()), "run: gradinv show schema > leaderboards/schema.md"


def test_the_page_holds_every_column_of_the_four_tables_in_order():
    listed = [line.split("`")[1] for line in schema_page(granted_levels()).splitlines() if line.startswith("| `")]
    assert listed == [*leaderboard_columns(), *image_columns(), *LABEL_COLUMNS, *LABEL_BATCH_COLUMNS]


@pytest.mark.parametrize("name", NAMES)
def test_published_tables_have_the_documented_columns(name):
    header = header_of(BOARDS / f"{name}.csv")
    measured = [column.removesuffix("_mean") for column in header if column.endswith("_mean")]
    extra = requested(measured, but=(*board_metrics(), "identity_gain"))
    columns = LABEL_COLUMNS if name.startswith("labels-") else leaderboard_columns(extra)
    # In order; what a board from before a column lacks, `gradinv check` knows.
    assert header == [column for column in columns if column in header]
    later = {*LETTER, *SHARES, *VICTIM, *UTILITY}
    assert len(header) > 0.6 * len([column for column in columns if column not in later])


@pytest.mark.parametrize("path", sorted(BOARDS.glob("*.images.csv")), ids=lambda path: path.name)
def test_published_image_tables_have_the_documented_columns(path):
    header = header_of(path)
    columns = image_columns(
        requested(header, but=(*board_metrics(), *DETAILS)), details=[name for name in DETAILS if name in header]
    )
    assert header == [column for column in columns if column in header]


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("labels-")])
def test_a_user_reads_booleans_with_pandas(name):
    path = BOARDS / f"{name}.csv"
    # As how-to-read.md says: boards before schema 4 leave `works` empty for controls.
    board = pd.read_csv(path, dtype={"works": "boolean"})
    assert len(board[board.works]) == int((board.works == True).sum())  # noqa: E712 - an NA is not true
    plain = pd.read_csv(path)
    assert {str(plain[column].dtype) for column in ("is_control", "adaptive")} == {"bool"}
    if plain.schema.max() >= 4:
        assert str(plain.works.dtype) == "bool"
