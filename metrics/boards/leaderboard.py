"""Records -> the leaderboard (one row per cell) and the image table (one row per scored image), as CSV files."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gradinv.metrics.boards.columns import (
    BUDGET_LEFT,
    LEADERBOARD_SCHEMA,
    image_columns,
    leaderboard_columns,
)
from gradinv.metrics.images.facts import board_metrics, counting
from gradinv.metrics.records.cells import controls_of
from gradinv.metrics.records.column import Column
from gradinv.metrics.records.files import write_csv
from gradinv.metrics.records.reading import batch_means, image_metrics, mean, metric_names, trials_by_cell
from gradinv.metrics.records.record import LOST, Cell, ImageScore, Record, State
from gradinv.metrics.records.settings import SETTING
from gradinv.metrics.statistics.intervals import gain_over_controls, interval

SEVERITY: tuple[State, ...] = ("done", "diverged", "skipped", "oom", "failed")
Row = dict[str, Any]


def leaderboard(records: Sequence[Record]) -> pd.DataFrame:
    """One row per cell, columns as in `columns.leaderboard_columns`, rows in the order of the suite.

    The result depends on the records alone, not on their order. A number that was not measured is empty (NaN), with
    the reason in `notes`; `true/false` columns hold these words, or nothing.
    """
    cells = trials_by_cell(records)
    repeated = Counter(record.cell for record in records)
    neighbours: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        neighbours.setdefault(cell.setting, []).append(cell)
    extra = [name for name in metric_names(records) if name not in board_metrics()]
    metrics = (*board_metrics(), *extra)
    rows = []
    for cell, trials in cells.items():
        notes = _state_notes(trials)
        left_out = repeated[cell] - len(trials)
        notes += [f"{left_out} earlier trials of the same batches, specified differently, left out"] * (left_out > 0)
        row = _text_row(cell, trials) | _counts(trials) | _costs(trials)
        notes += ["one batch: no intervals"] * (row["n_batches"] == 1)
        for metric in metrics:
            row |= _measured(metric, trials, notes)
        if not cell.is_control:
            controls = {control: cells[control] for control in controls_of(cell, neighbours[cell.setting])}
            row |= _gain(trials, controls, notes)
        rows.append(row | {"notes": "; ".join(dict.fromkeys(notes))})
    return _frame(rows, leaderboard_columns(extra))


def image_table(records: Sequence[Record]) -> pd.DataFrame:
    """One row per scored image, columns as in `columns.image_columns`; infinite values stay infinite."""
    extra = [name for name in image_metrics(records) if name not in board_metrics("image")]
    rows = []
    for cell, trials in trials_by_cell(records).items():
        shared = {"key": cell.key, "is_control": _word(cell.is_control)} | _setting(cell)
        for trial in trials:
            own = {"batch": trial.repetition, "state": trial.state}
            rows += [
                {**shared, **own, **_image_head(image), **image.metrics, **image.details}
                for image in sorted(trial.images, key=lambda image: image.slot)
            ]
    details = {name for record in records for image in record.images for name in image.details}
    return _frame(rows, image_columns(extra, details))


def _image_head(image: ImageScore) -> Row:
    return {"slot": image.slot, "image": image.image, "label": image.label}


def write_leaderboard(records: Sequence[Record], out_dir: Path) -> tuple[Path, Path]:
    """Write `leaderboard.csv` and `leaderboard.images.csv` into `out_dir`; returns their paths."""
    board, images = out_dir / "leaderboard.csv", out_dir / "leaderboard.images.csv"
    write_boards(records, board, images)
    return board, images


def write_boards(records: Sequence[Record], board_path: Path, images_path: Path) -> pd.DataFrame:
    """Write the leaderboard and the image table to these files, each whole or not at all; returns the leaderboard."""
    board = leaderboard(records)
    write_csv(board, board_path)
    write_csv(image_table(records), images_path)
    return board


def _frame(rows: Sequence[Row], columns: Mapping[str, Column]) -> pd.DataFrame:
    return pd.DataFrame({name: _series([row.get(name) for row in rows], column) for name, column in columns.items()})


def _series(values: Sequence[Any], column: Column) -> pd.Series:
    if column.is_integer:
        return pd.Series(values, dtype="Int64")  # nullable: a column of counts with one empty would become floats
    if not column.is_number:
        return pd.Series(["" if value is None else str(value) for value in values], dtype="object")
    return pd.Series([math.nan if value is None else value for value in values], dtype="float64")


def _word(value: bool) -> str:
    return "true" if value else "false"


def _setting(cell: Cell) -> Row:
    values = {name: getattr(cell, name) for name in SETTING}
    return {name: _word(value) if isinstance(value, bool) else value for name, value in values.items()}


def _text_row(cell: Cell, trials: Sequence[Record]) -> Row:
    """Everything that is no number: the cell's identity and what its trials agree on, or all that they say."""

    def said(what: Callable[[Record], object]) -> str:
        return "; ".join(dict.fromkeys(text for trial in trials if (text := str(what(trial)))))

    own = {name: getattr(cell, name) for name in ("attack", "preset", "parameters", "tuning")}
    return own | _setting(cell) | {
        "is_control": _word(cell.is_control),
        "label_method": said(lambda trial: trial.label_method),
        "uses": said(lambda trial: "+".join(sorted(trial.uses))),
        "engine": said(lambda trial: trial.engine),
        "threads": said(lambda trial: trial.threads),
        "device": said(lambda trial: trial.device),
        "versions": said(lambda trial: ", ".join(f"{name} {v}" for name, v in sorted(trial.versions.items()))),
        "date": max(trial.date for trial in trials)[:10],
        "suite_hash": said(lambda trial: trial.spec.get("suite_hash", "")),
        "schema": LEADERBOARD_SCHEMA,
    }  # fmt: skip


def _counts(trials: Sequence[Record]) -> Row:
    states = Counter(trial.state for trial in trials)
    scored = [trial for trial in trials if trial.is_scored]
    return {
        "n_batches": len(scored),
        "n_images": sum(len(trial.images) for trial in scored),
        "n_diverged": states["diverged"],
        "n_failed": sum(states[state] for state in LOST),
        "n_skipped": states["skipped"],
        "state": max(states, key=SEVERITY.index),
    }


def _costs(trials: Sequence[Record]) -> Row:
    scored = [trial for trial in trials if trial.is_scored]
    memory = [trial.peak_memory_mb for trial in scored if trial.peak_memory_mb is not None]
    final = [trial.final_psnr for trial in scored if trial.final_psnr is not None]
    return {
        "slot_accuracy_mean": _mean(trial.slot_accuracy for trial in scored),
        "final_psnr_mean": mean(counting("psnr", final)),
        "objective_start": _mean(trial.objective_start for trial in scored),
        "objective_end": _mean(trial.objective_end for trial in scored),
        "evaluations": _mean(trial.evaluations for trial in scored),
        "seconds_mean": _mean(trial.seconds for trial in scored),
        "peak_memory_mb": max(memory, default=None),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    return mean([value for value in values if value is not None and math.isfinite(value)])


def _state_notes(trials: Sequence[Record]) -> list[str]:
    """What the trials say about themselves, states first; the traceback of a failed one stays in its record."""
    states = [f"{trial.state}: {trial.reason or 'no reason recorded'}" for trial in trials if trial.state != "done"]
    scored = [trial for trial in trials if trial.is_scored]
    return states + [note for trial in scored for note in (*trial.notes, *_budget_left(trial))]


def _budget_left(trial: Record) -> list[str]:
    return [f"{BUDGET_LEFT}: {trial.stopped}"] if trial.stopped else []


def _measured(metric: str, trials: Sequence[Record], notes: list[str]) -> Row:
    """Mean and interval of one metric over the batches; a note where batches lack it and no trial says why."""
    values = list(batch_means(trials, metric).values())
    n_scored = sum(trial.is_scored for trial in trials)
    if len(values) < n_scored and not any(note.startswith(f"{metric}:") for note in notes):
        notes.append(f"{metric}: measured in {len(values)} of {n_scored} batches")
    result = interval(values)
    return {f"{metric}_mean": result.mean, f"{metric}_low": result.low, f"{metric}_high": result.high}


def _gain(trials: Sequence[Record], controls: Mapping[Cell, Sequence[Record]], notes: list[str]) -> Row:
    """The paired gain in PSNR over the best of all controls, and a note for each control that has no values."""
    values = {control.attack: batch_means(runs, "psnr") for control, runs in controls.items()}
    own = batch_means(trials, "psnr")
    if not own:
        return {}
    notes += [
        f"not compared with {control.attack} ({runs[0].state}: {runs[0].reason or 'no reason recorded'})"
        for control, runs in controls.items()
        if not values[control.attack]
    ]
    gain = gain_over_controls(own, values, higher_is_better=True)
    if gain is None:
        notes.append("no control has values for these batches")
        return {}
    if gain.n < 2:
        notes.append("too few batches to say whether it works")
    elif gain.n < len(own):
        notes.append(f"gain over {gain.n} of {len(own)} batches")
    return {
        "best_control": gain.control,
        "psnr_gain_mean": gain.mean,
        "psnr_gain_low": gain.low,
        "psnr_gain_high": gain.high,
        "works": _word(gain.works) if gain.n >= 2 else "",
    }
