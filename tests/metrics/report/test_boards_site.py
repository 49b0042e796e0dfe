"""The published boards as pages: every row of every table stands on its page, and nothing else is overwritten."""

import csv
import re
from html import unescape
from pathlib import Path

import pytest

from gradinv.metrics.boards.published import PublishedBoard, PublishedLabels, published_boards
from gradinv.metrics.boards.rows import BoardError
from gradinv.metrics.report.boards_site import write_boards
from gradinv.metrics.report.folders import ReportError
from gradinv.metrics.report.results_page import write_results

BOARDS = Path(__file__).parents[3] / "leaderboards"


@pytest.fixture(scope="module")
def boards():
    return published_boards(BOARDS)


@pytest.fixture(scope="module")
def site(boards, tmp_path_factory):
    return write_boards(boards, tmp_path_factory.mktemp("site") / "pages", {"mean_image": "the mean"}).parent


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def text_of(page):
    return unescape(re.sub(r"<[^>]*>", "", page.read_text(encoding="utf-8")))


def test_every_published_board_has_its_page(boards, site):
    names = {page.stem for page in BOARDS.glob("*.md") if page.with_suffix(".csv").is_file()}
    assert names <= {board.path.stem for board in boards}
    index = (site / "index.html").read_text(encoding="utf-8")
    for board in boards:
        assert f'href="{board.path.stem}/index.html"' in index
        assert (site / board.path.stem / board.path.name).read_bytes() == board.path.read_bytes()


def test_every_row_is_on_the_page_with_its_number(boards, site):
    for board in boards:
        rows, page = rows_of(board.path), (site / board.path.stem / "index.html").read_text(encoding="utf-8")
        assert page.count('<th scope="row"') == len(rows)
        if isinstance(board, PublishedBoard):
            for row in rows:
                if row["psnr_mean"]:
                    assert f'data-sort="{float(row["psnr_mean"])!r}"' in page
            assert len(board.lines) == len(rows)


def test_the_results_come_first_and_their_links_lead_to_pages_and_figures(boards, site):
    assert 'href="results/index.html"' in (site / "index.html").read_text(encoding="utf-8")
    page = (site / "results" / "index.html").read_text(encoding="utf-8")
    links = [link for link in re.findall(r'href="([^":#,]+)"', page) if not link.endswith(".css")]
    assert {f"../{board.path.stem}/index.html" for board in boards} & set(links)
    assert any(link.endswith(".png") for link in links)
    figures = re.findall(r"^!\[.*\]\((.*)\)$", (BOARDS / "results.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert figures
    assert re.findall(r'<img src="([^"]+)"', page) == figures
    assert [link for link in links if not (site / "results" / link).is_file()] == []
    assert page.count("<tr>") == sum(row.startswith("|") for row in (BOARDS / "results.md").open(encoding="utf-8")) - 1
    assert "](" not in text_of(site / "results" / "index.html")


def test_the_index_says_what_every_board_shows(boards, site):
    """By the heading of its page; labels-cifar10-steps has a section of another's."""
    index = (site / "index.html").read_text(encoding="utf-8")
    parts = [re.search(r'href="([^"]+)/index.html".*?<td[^>]*>(.*?)</td>', row, re.S) for row in index.split("<tr")]
    rows = dict(part.groups() for part in parts if part)
    assert {board.path.stem for board in boards} <= set(rows)
    assert [name for name, shows in rows.items() if not shows.strip()] == []
    assert rows["labels-cifar10-steps"].strip() == "After several local steps"


def test_html_in_a_page_of_results_stays_text_and_links_to_nothing_become_words(tmp_path):
    source = tmp_path / "results.md"
    source.write_text("# Mine\n\n<b>bold</b> [there](board.md), [nowhere](gone.md), [out](https://example.org)\n")
    page = write_results(source, tmp_path / "page", {"board"}).read_text(encoding="utf-8")
    assert "&lt;b&gt;" in page
    assert '<a href="../board/index.html">there</a>, <span>nowhere</span>, <a href="https://example.org">' in page


def test_a_figure_that_is_not_beside_the_page_of_results_becomes_its_words(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    source = tmp_path / "results.md"
    source.write_text("# Mine\n\n![a](a.png)\n\n![gone](b.png)\n\n![elsewhere](https://example.org/c.png)\n")
    page = write_results(source, tmp_path / "page", set()).read_text(encoding="utf-8")
    assert re.findall(r"<a[^>]*><img.*", page) == ['<a class="drawing" href="a.png"><img src="a.png" alt="a"></a></p>']
    assert "<p>gone</p>" in page
    assert "<p>elsewhere</p>" in page


def test_a_verdict_is_the_tables(boards, site):
    for board in boards:
        if isinstance(board, PublishedBoard):
            page = (site / board.path.stem / "index.html").read_text(encoding="utf-8")
            rows = rows_of(board.path)
            leaking = [row for row in rows if row.get("leaks", row["works"]) not in ("", "none", "false")]
            assert page.count('class="badge works"') == len(leaking)
            assert ("on pixels alone" in page) == (int(rows_of(board.path)[0]["schema"]) < 4)


def test_label_boards_show_shares_in_per_cent(boards, site):
    labels = [board for board in boards if isinstance(board, PublishedLabels)]
    assert labels
    for board in labels:
        text = text_of(site / board.path.stem / "index.html")
        for row in rows_of(board.path):
            if row["accuracy_mean"]:
                assert f"{100 * float(row['accuracy_mean']):.2f} %" in text


def test_no_link_is_broken_and_none_leaves_the_folder(site):
    for page in site.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#]+)"', page.read_text(encoding="utf-8")):
            if not target.startswith("data:"):
                assert (page.parent / target).resolve().is_relative_to(site.resolve())
                assert (page.parent / target).is_file(), target


def test_it_replaces_itself_and_nothing_else(boards, site):
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    write_boards(boards, site, {"mean_image": "the mean"})
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before
    (site / "mine.txt").write_text("not a report")
    with pytest.raises(ReportError, match="other files"):
        write_boards(boards, site, {})
    assert (site / "mine.txt").is_file()


def test_a_folder_without_boards_says_so(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BoardError, match="holds no board"):
        published_boards(tmp_path)
