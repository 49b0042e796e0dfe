"""Nobody who reads our pages is sent to a file or a heading that does not exist."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
FOLDERS = ("", "docs/", "leaderboards/")
PAGES = sorted(path.relative_to(CHECKOUT) for folder in FOLDERS for path in CHECKOUT.glob(f"{folder}*.md"))


def prose(page):
    """The page without its blocks of code and its code in lines, which may hold brackets of their own."""
    text = re.sub(r"^```.*?^```$", "", (CHECKOUT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page):
    """The headings of a page as GitHub's addresses name them."""
    headings = re.findall(r"^#+ (.+)$", (CHECKOUT / page).read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_inside_the_repository_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    for target in targets:
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (CHECKOUT / page.parent / path).resolve() if path else CHECKOUT / page
        assert linked.is_file(), target
        assert not anchor or anchor in anchors(linked.relative_to(CHECKOUT)), target


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_rows_of_a_table_have_as_many_cells_as_its_head(page):
    """Else it is no table on the site, and on GitHub cells are missing."""
    for table in re.findall(r"(?:^\|.*\n)+", prose(page), re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1, table


def test_every_page_of_the_boards_is_linked_from_their_index():
    index = (CHECKOUT / "leaderboards" / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w.-]+\.md)\)", index))
    assert linked == {page.name for page in PAGES if page.parent.name == "leaderboards"} - {"README.md"}
