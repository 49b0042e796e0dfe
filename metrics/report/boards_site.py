"""Published boards as a folder of HTML pages, from their tables alone: no records, no pictures."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gradinv.metrics.boards import FIRST_WITH_RESPECTS, PublishedBoard, PublishedLabels, images_beside, metrics_measured
from gradinv.metrics.report.folders import ASSETS, copy_assets, is_report, replaced
from gradinv.metrics.report.pages import Value
from gradinv.metrics.report.results_page import PAGE, write_results
from gradinv.metrics.report.site import environment, facets, sections_of
from gradinv.metrics.typesetting import between, counted, first_to_last, fixed

_LABEL_SETTING = ("dataset", "image_size", "victim", "victim_state", "victim_seed", "bn_mode", "update", "batch_size")
_LABEL_COLUMNS = {
    "labels found": "accuracy",
    "whole batches": "all_correct",
    "chance": "chance",
    "batches": "n_batches",
}


def write_boards(
    boards: Sequence[PublishedBoard | PublishedLabels], directory: Path, meanings: Mapping[str, str]
) -> Path:
    """Write a page for each board, with its tables beside it, and one that lists them; returns that one.

    Where the boards have a page of results, it is the first of the list. `meanings` say what each control is. An older
    report in that folder is replaced, anything else in it is a ReportError.
    """
    with replaced(directory, {*ASSETS, "index.html"}, also=is_report) as folder:
        entries = []
        for board in boards:
            place = folder / board.path.stem
            place.mkdir()
            copy_assets(place)
            shutil.copyfile(board.path, place / board.path.name)
            if isinstance(board, PublishedLabels):
                entries.append(_write_labels(board, place))
            else:
                entries.append(_write_attacks(board, place, meanings))
        has_results = _write_results(boards, folder)
        text = environment([]).get_template("boards.html").render(entries=entries, has_results=has_results)
        (folder / "index.html").write_text(text, encoding="utf-8")
    return directory / "index.html"


def _write_results(boards: Sequence[PublishedBoard | PublishedLabels], folder: Path) -> bool:
    """Write the page of results that lies where the first board does; whether there is one."""
    source = boards[0].path.with_name(PAGE)
    if source.is_file():
        write_results(source, folder / source.stem, {board.path.stem for board in boards})
    return source.is_file()


def _write_attacks(board: PublishedBoard, place: Path, meanings: Mapping[str, str]) -> dict[str, str]:
    images = images_beside(board.path)
    shutil.copyfile(images, place / images.name)
    sections, name = sections_of(board.settings), board.path.stem
    attacks = sum(not line.cell.is_control for line in board.lines)
    holds = f"{counted(attacks, 'attack row')}, {counted(len(board.lines) - attacks, 'control row')}"
    days = first_to_last(str(line.row["date"]) for line in board.lines)
    text = (
        environment(metrics_measured(board.lines))
        .get_template("index.html")
        .render(
            name=name,
            is_one_of_many=True,
            facts=[holds, days, *_older(board)],
            files=[board.path.name, images.name],
            sections=sections,
            facets=facets(sections),
            meanings=meanings,
        )
    )
    (place / "index.html").write_text(text, encoding="utf-8")
    data = ", ".join(dict.fromkeys(f"{line.cell.dataset} {line.cell.image_size} px" for line in board.lines))
    return {"name": name, "folder": place.name, "shows": _shows(board.path), "holds": holds, "data": data, "days": days}


def _shows(path: Path) -> str:
    """What a board shows in a line: the heading of its page, or of the section of another's that links its rows."""
    own, link = path.with_suffix(".md"), f"[Rows]({path.name})"
    if own.is_file():
        heading = own.read_text(encoding="utf-8").partition("\n")[0]
    else:
        pages = [page.read_text(encoding="utf-8") for page in path.parent.glob("*.md")]
        above = next((text.partition(link)[0] for text in pages if link in text), "")
        heading = next((line for line in reversed(above.splitlines()) if line.startswith("#")), "")
    words = heading.removeprefix(f"# `{path.stem}`:").lstrip("# ").strip()
    return words[:1].upper() + words[1:]


def _older(board: PublishedBoard) -> list[str]:
    """What a reader of an older board must know."""
    schemas = {int(line.row["schema"]) for line in board.lines}
    on_pixels = min(schemas) < FIRST_WITH_RESPECTS
    return ["its verdicts are on pixels alone: structure and identity were not looked at"] * on_pixels


def _write_labels(board: PublishedLabels, place: Path) -> dict[str, str]:
    frame, name = board.frame, board.path.stem
    days = first_to_last(day for day in frame["date"].astype(str))
    text = (
        environment([])
        .get_template("labels.html")
        .render(name=name, file=board.path.name, days=days, sections=_label_sections(frame))
    )
    (place / "index.html").write_text(text, encoding="utf-8")
    sizes = frame[["dataset", "image_size"]].drop_duplicates()
    data = ", ".join(f"{dataset} {size} px" for dataset, size in sizes.itertuples(index=False))
    holds = f"{counted(len(frame), 'row')} of label inference"
    return {"name": name, "folder": place.name, "shows": _shows(board.path), "holds": holds, "data": data, "days": days}


def _label_sections(frame: pd.DataFrame) -> list[dict[str, Any]]:
    sections = []
    # Of labels that may be equal there is no chance to compare with.
    columns = {
        title: name for title, name in _LABEL_COLUMNS.items() if name != "chance" or frame["chance"].notna().any()
    }
    # In the order of the file, and with settings that have an empty column, which pandas would leave out.
    for setting, rows in frame.groupby([*_LABEL_SETTING, "max_equal_labels"], sort=False, dropna=False):
        dataset, size, victim, state, seed, mode, update, batch_size, equal = setting
        title = f"{victim} ({state}) · {dataset} {size} px · batch size {batch_size} · victim seed {seed} · {mode} mode"
        labels = "labels distinct" if equal == 1 else f"labels up to {equal} equal"
        labels += "" if update == "gradient" else f" · {update}"
        lines = [
            {"rule": str(row["rule"]), "numbers": [_value(row, name) for name in columns.values()],
             "notes": "" if pd.isna(row["notes"]) else str(row["notes"])}
            for row in rows.to_dict("records")
        ]  # fmt: skip
        sections.append({"title": f"{title} · {labels}", "columns": list(columns), "rows": lines})
    return sections


def _value(row: Mapping[Any, Any], name: str) -> Value:
    """A share in per cent with its interval, or a count."""
    if name == "n_batches":
        return Value(str(row[name]))
    number = row[name] if name == "chance" else row[f"{name}_mean"]
    if pd.isna(number):
        return Value("")
    low, high = (row.get(f"{name}_{part}", float("nan")) for part in ("low", "high"))
    return Value(f"{fixed(100 * number, 2)} %", repr(number), between(100 * low, 100 * high, 2))
