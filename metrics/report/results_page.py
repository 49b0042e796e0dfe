"""The page of results beside published boards, as HTML: its links lead to the boards' pages, its figures are shown."""

import shutil
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.token import Token

from gradinv.metrics.report.folders import copy_assets
from gradinv.metrics.report.site import environment

PAGE = "results.md"
"""What the page is called where the boards lie."""


def write_results(source: Path, folder: Path, boards: Collection[str]) -> Path:
    """Write `source` as the first page of `folder`, its figures beside it; returns that page.

    `boards` are those with a page in a folder beside it; a link to anything else inside the repository becomes text.
    """
    folder.mkdir()
    copy_assets(folder)
    markdown = MarkdownIt("js-default")  # no HTML of the source gets through
    tokens = markdown.parse(source.read_text(encoding="utf-8"))
    for token in tokens:
        _lead_somewhere(token.children or [], source.parent, folder, boards)
    rules: Any = markdown.renderer
    image = rules.rules["image"]
    rules.rules |= {
        # A figure leads to itself, which is larger than a page is wide.
        "image": lambda tokens, place, *rest: (
            f'<a class="drawing" href="{escape(tokens[place].attrs["src"])}">{image(tokens, place, *rest)}</a>'
        ),
        # A wide table is scrolled, and not the page.
        "table_open": lambda *_: '<div class="scroll" tabindex="0" role="region" aria-label="Table">\n<table>\n',
        "table_close": lambda *_: "</table>\n</div>\n",
    }
    title, text = _title_and_rest(tokens)
    body = markdown.renderer.render(text, markdown.options, {})
    page = environment([]).get_template("results.html").render(title=title, body=body)
    (folder / "index.html").write_text(page, encoding="utf-8")
    return folder / "index.html"


def _title_and_rest(tokens: Sequence[Token]) -> tuple[str, Sequence[Token]]:
    """The words of the first heading, and what comes after it."""
    _, words, _, *rest = tokens
    return words.content, rest


def _lead_somewhere(tokens: Sequence[Token], source: Path, folder: Path, boards: Collection[str]) -> None:
    """Change the links and figures among the parts of a line so that they hold in the folder."""
    unlinked = False
    for token in tokens:
        if token.type == "image":
            target = _target(str(token.attrs["src"]), source, folder, boards)
            if target.endswith(".png") and not urlsplit(target).scheme:  # pages load nothing from elsewhere
                token.attrs["src"] = target
            else:
                token.type, token.tag = "text", ""
        elif token.type == "link_open":
            target = _target(str(token.attrs["href"]), source, folder, boards)
            unlinked = not target
            token.attrs = {"href": target} if target else {}
        if unlinked and token.type in {"link_open", "link_close"}:
            token.tag = "span"


def _target(link: str, source: Path, folder: Path, boards: Collection[str]) -> str:
    """Where a link of the source leads from the folder; empty where to nothing."""
    if urlsplit(link).scheme:
        return link
    path = source / link
    if path.suffix == ".md" and path.stem in boards:
        return f"../{path.stem}/index.html"
    if path.suffix == ".png" and path.is_file() and path.parent == source:
        shutil.copyfile(path, folder / path.name)
        return path.name
    return ""
