"""docs/contest-row.md: a reviewer runs a published row again, with the commands as the page has them."""

import csv
import re
import shlex
import shutil
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PAGE = (CHECKOUT / "docs" / "contest-row.md").read_text(encoding="utf-8")
SHOWN = [shlex.split(line)[1:] for line in re.findall(r"^gradinv .*$", PAGE, re.MULTILINE)]
NAMES = ("claims", "review", "run", "compared")
FAST = ["--limit", "1", "--jobs", "1", "--device", "cpu", "--no-figures"]  # the first batch alone


def undefended(table, copy):
    """The rows without a defense; of a whole board every command here would check all intervals, for half a minute."""
    with table.open(encoding="utf-8", newline="") as source, copy.open("w", encoding="utf-8", newline="") as target:
        rows = csv.DictReader(source)
        writer = csv.DictWriter(target, rows.fieldnames)
        writer.writeheader()
        writer.writerows(row for row in rows if row["defense"] == "none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run_in_forks):
    """Where all commands have run, beside what is published of one setting; other tests check whole boards."""
    path = tmp_path_factory.mktemp("contest")
    (path / "leaderboards").mkdir()
    for name in ("defenses.csv", "defenses.images.csv"):
        undefended(CHECKOUT / "leaderboards" / name, path / "leaderboards" / name)
    shutil.copy(CHECKOUT / "leaderboards" / "defenses.yaml", path / "leaderboards")
    commands = dict(zip(NAMES, SHOWN, strict=True))
    run_in_forks(path, commands | {"run": [*commands["run"], *FAST]}, "import gradinv.benchmark.runs.runner")
    return path


@pytest.mark.parametrize(("name", "said"), [("claims", "valid"), ("review", "label knowledge"), ("run", "4 done")])
def test_a_command_of_the_page_ends_well(folder, name, said):
    assert (folder / f"{name}.status").read_text().strip() == "0", (folder / f"{name}.err").read_text()
    assert said in (folder / f"{name}.out").read_text(encoding="utf-8")


def test_the_row_run_again_is_compared_with_the_published_one(folder):
    assert (folder / "compared.status").read_text().strip() in ("0", "1")  # 1 where another machine turns the verdict
    said = (folder / "compared.out").read_text(encoding="utf-8")
    assert re.match(r"leaderboards/defenses.csv:2: idlg \(B=1\): 1 of its 8 batches run again; ", said), said
