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
from gradinv.metrics.boards.published import series
from gradinv.metrics.boards.rows import images_beside
from gradinv.metrics.boards.taxonomy import letter_of
from gradinv.metrics.boards.verdict_fields import Fields, pool_fields, rank_fields, recovered_fields, verdict_fields
from gradinv.metrics.images import board_metrics, counting
from gradinv.metrics.records import (
    IDENTITY,
    LOST,
    Cell,
    Column,
    ImageScore,
    Record,
    State,
    batch_means,
    candidates_of,
    controls_of,
    differing_fields,
    image_metrics,
    mean,
    metric_names,
    setting_of,
    trials_by_cell,
    write_csv,
)
from gradinv.metrics.statistics import interval_of_shares, metric_interval
from gradinv.metrics.typesetting import state_in_words

# From the best to the worst: a row has the state of the worst of its trials.
SEVERITY: tuple[State, ...] = ("done", "diverged", "skipped", "oom", "failed")


def leaderboard(records: Sequence[Record]) -> pd.DataFrame:
    """One row per cell, columns as in `columns.leaderboard_columns`, rows in the order of the suite.

    The result depends on the records alone, not on their order. A number that was not measured is empty (NaN), with
    the reason in `notes`; `true/false` columns hold these words, or nothing.
    """
    cells = trials_by_cell(records)
    # Only cells of one setting are looked through for controls: a board of a thousand cells has a hundred settings.
    neighbours: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        neighbours.setdefault(cell.setting, []).append(cell)
    shown = board_metrics()
    extra = [name for name in metric_names(records) if name not in shown]
    rows = []
    for cell, trials in cells.items():
        candidates = {control: cells[control] for control in candidates_of(cell, neighbours[cell.setting])}
        rows.append(_row(cell, trials, candidates, (*shown, *extra)))
    return _frame(rows, leaderboard_columns(extra))


def _row(
    cell: Cell,
    trials: Sequence[Record],
    candidates: Mapping[Cell, Sequence[Record]],
    metrics: Iterable[str],
) -> Fields:
    notes = _state_notes(trials)
    row = _text_fields(cell, trials) | _counts(trials) | _costs(trials) | pool_fields(trials)
    row |= _shares("recovered", trials) | _shares("certified", trials) | recovered_fields(trials)
    row |= {"works": _word(False)}  # of a control, and of an attack of which nothing can be said
    notes += ["one batch: no intervals"] * (row["n_batches"] == 1)
    for metric in metrics:
        row |= _measured(metric, trials, notes) | rank_fields(metric, trials)
    if not cell.is_control:
        controls = {control: candidates[control] for control in controls_of(cell, candidates)}
        missing = _other_specifications(trials, candidates, controls)
        notes += missing
        # With a control of its own missing, the others could be beaten by a strong prior alone.
        row |= {} if missing else verdict_fields(trials, controls, notes)
    # Each note once: eight trials without weights say the same eight times.
    return row | {"notes": "; ".join(dict.fromkeys(notes))}


def images_frame(records: Sequence[Record]) -> pd.DataFrame:
    """One row per scored image, columns as in `columns.image_columns`; infinite values stay infinite."""
    shown = board_metrics("image")
    extra = [name for name in image_metrics(records) if name not in shown]
    rows = []
    for cell, trials in trials_by_cell(records).items():
        hashes = {name: getattr(cell, name) for name in IDENTITY}
        identity = {"key": cell.key, "is_control": _word(cell.is_control), **_setting_fields(cell), **hashes}
        for trial in trials:
            batch = {"batch": trial.repetition, "state": trial.state}
            rows += [identity | batch | _image_fields(image) for image in sorted(trial.images, key=_slot)]
    images = [image for record in records for image in record.images]
    details = {name for image in images for name in image.details}
    return _frame(rows, image_columns(extra, details))


def _slot(image: ImageScore) -> int:
    return image.slot


def _image_fields(image: ImageScore) -> Fields:
    return {"slot": image.slot, "image": image.image, "label": image.label, **image.metrics, **image.details}


def write_board(records: Sequence[Record], path: Path) -> pd.DataFrame:
    """Write the leaderboard and, beside it, its image table, each whole or not at all; returns the leaderboard."""
    board = leaderboard(records)
    write_csv(board, path)
    write_csv(images_frame(records), images_beside(path))
    return board


def _frame(rows: Sequence[Fields], columns: Mapping[str, Column]) -> pd.DataFrame:
    return pd.DataFrame({name: series([row.get(name) for row in rows], column) for name, column in columns.items()})


def _word(value: bool) -> str:
    return "true" if value else "false"


def _setting_fields(cell: Cell) -> Fields:
    values = setting_of(cell)
    return {name: _word(value) if isinstance(value, bool) else value for name, value in values.items()}


def _text_fields(cell: Cell, trials: Sequence[Record]) -> Fields:
    """Everything that is no number: the cell's identity and what its trials agree on, or all that they say."""

    def distinct(of_trial: Callable[[Record], object]) -> str:
        # What all trials agree on stands once; where they do not, all of it stands, for a reader will want to know.
        return "; ".join(dict.fromkeys(text for trial in trials if (text := str(of_trial(trial)))))

    return {
        **{name: getattr(cell, name) for name in ("attack", "preset", "parameters", "tuning")},
        **_setting_fields(cell),
        "is_control": _word(cell.is_control),
        "label_method": distinct(lambda trial: trial.label_method),
        "uses": distinct(lambda trial: "+".join(sorted(trial.uses))),
        "letter": distinct(_letter),
        "engine": distinct(lambda trial: trial.engine),
        "threads": distinct(lambda trial: trial.threads),
        "device": distinct(lambda trial: trial.device),
        "versions": distinct(lambda trial: ", ".join(f"{name} {v}" for name, v in sorted(trial.versions.items()))),
        "date": max(trial.date for trial in trials)[:10],
        **{name: getattr(cell, name) for name in IDENTITY},
        "suite_hash": distinct(lambda trial: trial.spec.get("suite_hash", "")),
        "schema": LEADERBOARD_SCHEMA,
    }


def _letter(trial: Record) -> str:
    """Of what was granted and used; empty where nothing was attacked."""
    if trial.cell.is_control or not trial.is_scored:
        return ""
    return letter_of(setting_of(trial.cell), trial.uses)


def _counts(trials: Sequence[Record]) -> Fields:
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


def _costs(trials: Sequence[Record]) -> Fields:
    scored = [trial for trial in trials if trial.is_scored]
    memory = [trial.peak_memory_mb for trial in scored if trial.peak_memory_mb is not None]
    final = [trial.final_psnr for trial in scored if trial.final_psnr is not None]
    return {
        "slot_accuracy_mean": _mean(trial.slot_accuracy for trial in scored),
        "final_psnr_mean": mean(counting("psnr", final)),
        "update_cosine_mean": _mean(trial.update_cosine for trial in scored),
        "update_error_mean": _mean(trial.update_error for trial in scored),
        "upload_bytes": _mean(trial.upload_bytes for trial in scored),
        "victim_accuracy": _mean(trial.victim_accuracy for trial in scored),
        "objective_start": _mean(trial.objective_start for trial in scored),
        "objective_end": _mean(trial.objective_end for trial in scored),
        "evaluations": _mean(trial.evaluations for trial in scored),
        "evaluations_counted": _mean(trial.evaluations_counted for trial in scored),
        "seconds_mean": _mean(trial.seconds for trial in scored),
        # Not the mean: the largest decides whether a trial fits a machine.
        "peak_memory_mb": max(memory, default=None),
    }


def _shares(detail: str, trials: Sequence[Record]) -> Fields:
    """How many images have a detail of 1, and the 95 % interval of their share; nothing where no trial says."""
    batches = [[image.details[detail] for image in trial.images] for trial in trials if _says(trial, detail)]
    if not batches:
        return {}
    share = interval_of_shares([sum(values) / len(values) for values in batches])
    count = int(sum(map(sum, batches)))
    return {f"n_{detail}": count, f"{detail}_low": share.low, f"{detail}_high": share.high}


def _says(trial: Record, detail: str) -> bool:
    return trial.is_scored and bool(trial.images) and all(detail in image.details for image in trial.images)


def _mean(values: Iterable[float | None]) -> float | None:
    # The objective of a diverged trial may be infinite, and one such trial would hide all others.
    return mean([value for value in values if value is not None and math.isfinite(value)])


def _state_notes(trials: Sequence[Record]) -> list[str]:
    """What the trials say about themselves, states first; the traceback of a failed one stays in its record."""
    states = [state_in_words(trial) for trial in trials if trial.state != "done"]
    # What a trial without values notes would explain numbers that are not there.
    scored = [trial for trial in trials if trial.is_scored]
    return states + [note for trial in scored for note in (*trial.notes, *_budget_left(trial))]


def _budget_left(trial: Record) -> list[str]:
    return [f"{BUDGET_LEFT}: {trial.stopped}"] if trial.stopped else []


def _measured(metric: str, trials: Sequence[Record], notes: list[str]) -> Fields:
    """Mean and interval of one metric over the batches; a note where batches lack it and no trial says why."""
    values = list(batch_means(trials, metric).values())
    n_scored = sum(trial.is_scored for trial in trials)
    # Where a trial knows why, its own note begins with the metric's name.
    if len(values) < n_scored and not any(note.startswith(f"{metric}:") for note in notes):
        notes.append(f"{metric}: measured in {len(values)} of {n_scored} batches")
    result = metric_interval(metric, values)
    return {f"{metric}_mean": result.mean, f"{metric}_low": result.low, f"{metric}_high": result.high}


def _other_specifications(
    trials: Sequence[Record], candidates: Mapping[Cell, Sequence[Record]], controls: Mapping[Cell, Sequence[Record]]
) -> list[str]:
    """A note for each control that was run with something else than the attack, and is therefore none of it."""
    compared = {control.attack for control in controls}
    notes = []
    for candidate, runs in candidates.items():
        if candidate in controls or candidate.attack in compared:
            continue
        ignored = {"control", "attack", "hyperparameters", "data_hash"}
        fields = [name for name in differing_fields(trials[0].spec, runs[0].spec) if name not in ignored]
        notes.append(f"not compared with {candidate.attack}: it was run with other {', '.join(fields)}")
    return notes
