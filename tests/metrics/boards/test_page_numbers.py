"""Pages of published boards, and the results: every interval that they quote is one of the tables, as it is rounded."""

import csv
import re
from pathlib import Path

import pytest

BOARDS = Path(__file__).parents[3] / "leaderboards"
PAGES = [page for page in sorted(BOARDS.glob("*.md")) if page.with_suffix(".csv").is_file()]
NUMBER = r"([-+]?\d+(?:\.\d+)?)"
QUOTED = re.compile(rf"{NUMBER}(?:\*\*)?(?: dB| %)? \[{NUMBER}, {NUMBER}\]")
NAMES = ("mean", "low", "high")
ELSEWHERE = {
    "labels-tinyimagenet32": {("1.0", "0.9", "1.1"), ("1.9", "1.8", "2.0")},
}
"""Quoted from what is not published, as the page says: single batches of labels."""


def triples(page):
    """All means with their bounds in the tables that the page's board consists of."""
    found = []
    for table in BOARDS.glob(f"{page.stem}*.csv"):
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                heads = {name.removesuffix("_low") for name in row if name.endswith("_low")}
                for head in heads:
                    means = (f"{head}_mean", f"{head}_share", f"{head}_spread_error", head, "")
                    middle = next(name for name in means if name in row or not name)
                    words = (row.get(middle), row[f"{head}_low"], row.get(f"{head}_high"))
                    if all(words):
                        found.append(tuple(map(float, words)))
    return found


def quoted(page):
    """The intervals that the page quotes, as they are written, each once."""
    text = " ".join(page.read_text(encoding="utf-8").split()).replace("\N{MINUS SIGN}", "-")
    return sorted(set(QUOTED.findall(text)) - ELSEWHERE.get(page.stem, set()))


def is_rounded(words, numbers):
    """Whether the words are these numbers to as many decimals as are written, or these in per cent."""
    return any(
        all(
            abs(scale * number - float(word)) <= 0.5 * 10.0 ** -len(word.partition(".")[2]) + 1e-9
            for word, number in zip(words, numbers, strict=True)
        )
        for scale in (1, -1, 100)
    )


def test_there_are_pages_that_quote_intervals():
    assert sum(len(quoted(page)) for page in PAGES) > 10


def test_every_interval_of_the_results_stands_in_a_table_or_on_a_board_page():
    """Its sentences are of boards: what the boards' own pages quote from elsewhere may be quoted again."""
    numbers = [triple for page in PAGES for triple in triples(page)]
    elsewhere = set().union(*ELSEWHERE.values())
    words = [each for each in quoted(BOARDS / "results.md") if each not in elsewhere]
    assert len(words) > 20
    assert [each for each in words if not any(is_rounded(each, triple) for triple in numbers)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_interval_of_a_page_is_one_of_its_tables(page):
    numbers = triples(page)
    missing = [words for words in quoted(page) if not any(is_rounded(words, triple) for triple in numbers)]
    assert missing == []
