"""The leaderboard as a folder of HTML pages: one table a setting, one page a row; no network, no script needed."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gradinv.metrics import leakage
from gradinv.metrics.boards import BEST, BoardLine, lines_by_setting, metrics_measured, winners, write_board
from gradinv.metrics.records import (
    BLIND_GRADIENTS,
    SETTING,
    PictureFolder,
    Pictures,
    Record,
    Setting,
    granted,
    title,
    varying,
)
from gradinv.metrics.report import pages
from gradinv.metrics.report.charts import objective_chart
from gradinv.metrics.report.folders import ASSETS, replaced
from gradinv.metrics.report.strips import snapshots, strips
from gradinv.metrics.typesetting import first_to_last

_PARTS = {*ASSETS, "index.html", "leaderboard.csv", "leaderboard.images.csv", "rows", "pictures"}


@dataclass(frozen=True)
class Extras:
    """What records do not say: where the pictures lie, what each control is, how a row is run again."""

    runs: Sequence[Path] = ()
    meanings: Mapping[str, str] = field(default_factory=dict)
    rerun: pages.RerunOf = lambda name, trials, controls: None


@dataclass(frozen=True)
class Section:
    """One setting with its lines, in the words of its heading."""

    title: str
    granted: str
    setting: Setting
    lines: list[BoardLine]


def write_html(records: Sequence[Record], directory: Path, extras: Extras = Extras()) -> Path:
    """Write the report into a folder, whole or not at all; returns its first page.

    An older report in that folder is replaced, anything else in it is a ReportError. The same records and pictures give
    the same bytes.
    """
    with replaced(directory, _PARTS) as folder:
        _write(records, folder, extras)
    return directory / "index.html"


def _write(records: Sequence[Record], directory: Path, extras: Extras) -> None:
    (directory / "rows").mkdir()
    sections = _sections(records, directory)
    templates = environment(metrics_measured([line for section in sections for line in section.lines]))
    index = templates.get_template("index.html").render(_index(records, sections), meanings=extras.meanings)
    (directory / "index.html").write_text(index, encoding="utf-8")
    folder = PictureFolder(Pictures(extras.runs), directory / "pictures")
    page = templates.get_template("row.html")
    for section in sections:
        for line in section.lines:
            text = page.render(_row(line, section, folder, extras, directory))
            (directory / "rows" / f"{pages.page_name(line.cell)}.html").write_text(text, encoding="utf-8")


def _sections(records: Sequence[Record], directory: Path) -> list[Section]:
    """The settings of the board, which is written beside the pages."""
    board = write_board(records, directory / "leaderboard.csv")
    settings = lines_by_setting(records, board, winners(records))
    return sections_of(settings)


def sections_of(settings: Sequence[tuple[Setting, list[BoardLine]]]) -> list[Section]:
    """Every setting with its words."""
    distinguishing = varying(setting for setting, _ in settings)
    return [Section(title(setting, distinguishing), granted(setting), setting, lines) for setting, lines in settings]


def environment(metrics: Sequence[str]) -> Environment:
    """The templates: everything is escaped, and a name that is not given is an error."""
    templates = Environment(
        loader=PackageLoader("gradinv.metrics.report"),
        autoescape=True,
        undefined=StrictUndefined,
        # Else every tag of a template would leave an empty line in the page.
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters["breakable"] = breakable
    templates.globals |= {
        "pages": pages,
        "headings": [pages.heading(name) for name in metrics],
        "BEST": BEST,
        "leakage": leakage,
    }
    return templates


def breakable(key: str) -> Markup:
    """A key, escaped, that a browser may break where its parts begin.

    >>> breakable("a_b.c[d_e=0.1,f=2]")
    Markup('a_<wbr>b<wbr>.c<wbr>[d_e=0.1,<wbr>f=2]')
    """
    name, bracket, parameters = key.partition("[")
    # Browsers break lines at blanks only, and keys have none.
    # A dot before digits is a decimal point and begins no part.
    parts = [*re.split(r"(?<=[_,])|(?=\.(?!\d))", name), *re.split(r"(?<=,)", bracket + parameters)]
    return Markup("<wbr>").join(part for part in parts if part)


def _index(records: Sequence[Record], sections: Sequence[Section]) -> dict[str, Any]:
    """What the first page needs."""
    states = ", ".join(f"{n} {state}" for state, n in sorted(Counter(record.state for record in records).items()))
    days = first_to_last(record.date[:10] for record in records if record.date)
    return {
        "name": ", ".join(sorted({record.suite for record in records})),
        "facts": [f"{len(records):,} trials ({states})", days],
        "is_one_of_many": False,
        "files": ["leaderboard.csv", "leaderboard.images.csv"],
        "sections": sections,
        "facets": facets(sections),
    }


def facets(sections: Sequence[Section]) -> dict[str, list[str]]:
    """The setting columns that differ between sections, with their values in the order of the board."""
    # The granted numbers follow from the other columns; there are as many of them as batch sizes.
    names = [name for name in SETTING if name != "granted_numbers_per_pixel"]
    values = {name: list(dict.fromkeys(str(section.setting[name]) for section in sections)) for name in names}
    return {name: distinct for name, distinct in values.items() if len(distinct) > 1}


def _row(line: BoardLine, section: Section, folder: PictureFolder, extras: Extras, directory: Path) -> dict[str, Any]:
    """What a row's page needs; writes its pictures and its suite."""
    controls = pages.controls_beside(line, section.lines)
    beside = [line, *controls, *pages.attacks_beside(line, section.lines)]
    axis, spans = pages.spans(beside)
    images, picture_strips = strips([line, *controls], folder)
    # Only their objective is the attack's own, so that only their curves can be drawn beside it.
    blind = [(control.cell.attack, control.trials) for control in controls if control.cell.attack in BLIND_GRADIENTS]
    return {
        "line": line,
        "section": section,
        "beside": beside,
        "axis": axis,
        "spans": spans,
        "images": images,
        "strips": picture_strips,
        "snapshots": snapshots(line, folder),
        "chart": objective_chart(line.trials, blind),
        "meaning": extras.meanings.get(line.cell.attack, "") if line.cell.is_control else "",
        "rerun": _rerun(line, controls, extras, directory),
    }


def _rerun(line: BoardLine, controls: Sequence[BoardLine], extras: Extras, directory: Path) -> dict[str, str] | None:
    """The suite of an attack's page, written beside it, and the command that runs it."""
    if line.cell.is_control:
        return None
    name = pages.page_name(line.cell)
    rerun = extras.rerun(name, line.trials, [control.cell.attack for control in controls])
    if rerun is None:
        return None
    (directory / "rows" / f"{name}.yaml").write_text(rerun.suite, encoding="utf-8")
    # By its name alone: whoever runs it has the page's folder before them.
    return {
        "file": f"{name}.yaml",
        "suite": rerun.suite,
        "command": " ".join(["gradinv run", f"{name}.yaml", *rerun.options, "--out", f"runs/{name}"]),
    }
