"""The leaderboard as a folder of HTML pages: one table a setting, one page a row; no network, no script needed."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from gradinv.metrics.boards.columns import SETTING
from gradinv.metrics.boards.leaderboard import write_leaderboard
from gradinv.metrics.boards.lines import BEST, Line, lines_by_setting, metrics_measured
from gradinv.metrics.records.pictures import PictureFolder
from gradinv.metrics.records.record import Record
from gradinv.metrics.records.settings import granted, title, varying
from gradinv.metrics.registry import RequestError
from gradinv.metrics.report import pages
from gradinv.metrics.report.charts import objective_chart
from gradinv.metrics.report.strips import SPREAD_GAIN, snapshots, strips
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_MARK = '<meta name="generator" content="gradinv leaderboard --html">'
_ASSETS = ("style.css", "table.js")
_OWN = {*_ASSETS, "index.html", "leaderboard.csv", "leaderboard.images.csv", "rows", "pictures"}
_FED = ("other_gradient", "noise_gradient")
"""Controls whose objective is the attack's own, on another gradient: only theirs can be drawn beside it."""


class ReportError(RequestError):
    """A folder that a report must not be written into; its text is one line that says why."""


@dataclass(frozen=True)
class Extras:
    """What records do not say: where the pictures lie, what each control is, how a row is run again."""

    runs: Sequence[Path] = ()
    meanings: Mapping[str, str] | None = None
    recipe: pages.RecipeOf = lambda name, trials, controls: None


@dataclass(frozen=True)
class _Group:
    """One setting with its lines, in the words of its heading."""

    title: str
    granted: str
    setting: Mapping[str, Any]
    lines: list[Line]


def write_html(records: Sequence[Record], directory: Path, extras: Extras = Extras()) -> Path:
    """Write the report into a folder, whole or not at all; returns its first page.

    An older report in that folder is replaced, anything else in it is a ReportError. The same records and pictures give
    the same bytes.
    """
    _check(directory)
    target = directory.resolve()  # `.` has no name, and a link must stay one
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _write(records, partial, extras)
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return directory / "index.html"


def _check(directory: Path) -> None:
    """Only an empty folder or an older report, with nothing else in it, may be replaced."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ReportError(f"{directory} is no folder; give one for the report")
    names = {path.name for path in directory.iterdir()}
    index = directory / "index.html"
    is_ours = index.is_file() and _MARK in index.read_text(encoding="utf-8", errors="replace")
    if names - _OWN or (names and not is_ours):
        raise ReportError(f"{directory} holds other files than a report of gradinv; give another folder")


def _write(records: Sequence[Record], directory: Path, extras: Extras) -> None:
    (directory / "rows").mkdir(parents=True)
    for name in _ASSETS:
        (directory / name).write_bytes((files("gradinv.metrics.report") / "templates" / name).read_bytes())
    write_leaderboard(records, directory)
    found = lines_by_setting(records)
    also = varying(setting for setting, _ in found)
    groups = [_Group(title(setting, also), granted(setting), setting, lines) for setting, lines in found]
    templates = _templates(metrics_measured([line for group in groups for line in group.lines]))
    index = templates.get_template("index.html").render(_index(records, groups), meanings=extras.meanings or {})
    (directory / "index.html").write_text(index, encoding="utf-8")
    folder = PictureFolder(extras.runs, directory / "pictures")
    page = templates.get_template("row.html")
    for group in groups:
        for line in group.lines:
            name = pages.page_name(line.cell)
            text = page.render(_row(line, group, folder, extras, directory))
            (directory / "rows" / f"{name}.html").write_text(text, encoding="utf-8")


def _templates(metrics: Sequence[str]) -> Environment:
    """The templates: everything is escaped, and a name that is not given is an error."""
    environment = Environment(
        loader=PackageLoader("gradinv.metrics.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["breakable"] = breakable
    environment.globals |= {
        "pages": pages,
        "headings": [pages.heading(name) for name in metrics],
        "BEST": BEST,
        "SPREAD_GAIN": SPREAD_GAIN,
    }
    return environment


def breakable(key: str) -> Markup:
    """A key, escaped, that a browser may break where its parts begin.

    >>> breakable("a_b.c[d_e=0.1,f=2]")
    Markup('a_<wbr>b<wbr>.c<wbr>[d_e=0.1,<wbr>f=2]')
    """
    name, bracket, parameters = key.partition("[")
    parts = [*re.split(r"(?<=_)|(?=\.)", name), *re.split(r"(?<=,)", bracket + parameters)]
    return Markup("<wbr>").join(part for part in parts if part)


def _index(records: Sequence[Record], groups: Sequence[_Group]) -> dict[str, Any]:
    """What the first page needs."""
    dates = sorted({record.date[:10] for record in records if record.date})
    return {
        "groups": groups,
        "facets": _facets(groups),
        "suites": sorted({record.suite for record in records}),
        "states": sorted(Counter(record.state for record in records).items()),
        "dates": list(dict.fromkeys(dates[:1] + dates[-1:])),
        "count": len(records),
    }


def _facets(groups: Sequence[_Group]) -> dict[str, list[str]]:
    """The setting columns that differ between groups, with their values in the order of the board."""
    names = [name for name in SETTING if name != "granted_numbers_per_pixel"]
    values = {name: list(dict.fromkeys(str(group.setting[name]) for group in groups)) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}


def _row(line: Line, group: _Group, folder: PictureFolder, extras: Extras, directory: Path) -> dict[str, Any]:
    """What a row's page needs; writes its pictures and its suite."""
    controls = pages.controls_beside(line, group.lines)
    beside = [line, *controls, *pages.attacks_beside(line, group.lines)]
    axis, spans = pages.spans(beside)
    places, shown = strips([line, *controls], folder)
    fed = [(other.cell.attack, other.trials) for other in controls if other.cell.attack in _FED]
    return {
        "line": line,
        "group": group,
        "beside": beside,
        "axis": axis,
        "spans": spans,
        "places": places,
        "strips": shown,
        "snapshots": snapshots(line, folder),
        "chart": objective_chart(line.trials, fed),
        "meaning": (extras.meanings or {}).get(line.cell.attack, "") if line.cell.is_control else "",
        "recipe": _recipe(line, controls, extras, directory),
    }


def _recipe(line: Line, controls: Sequence[Line], extras: Extras, directory: Path) -> dict[str, str] | None:
    """The suite of an attack's page, written beside it, and the command that runs it."""
    if line.cell.is_control:
        return None
    name = pages.page_name(line.cell)
    found = extras.recipe(name, line.trials, [control.cell.attack for control in controls])
    if found is None:
        return None
    (directory / "rows" / f"{name}.yaml").write_text(found.suite, encoding="utf-8")
    return {
        "file": f"{name}.yaml",
        "suite": found.suite,
        "command": " ".join(["gradinv run", f"{name}.yaml", *found.options, "--out", f"runs/{name}"]),
    }
