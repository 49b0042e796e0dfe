"""What one row of a board must fulfil by itself: words and ranges, counts that add up, a budget that was kept."""

import math
from collections.abc import Iterator, Mapping
from typing import get_args

from gradinv.metrics.boards.columns import BUDGET_LEFT, LEADERBOARD_SCHEMA, leaderboard_columns
from gradinv.metrics.boards.rows import PublishedRow, Words, count, number
from gradinv.metrics.images import ANYWHERE, board_metrics
from gradinv.metrics.leakage import parted, unattributed
from gradinv.metrics.records import State

FIRST_WITH_RESPECTS = 4
"""Schema of boards from which on the verdict is over pixels, structure and identity."""
FIRST_WITH_BOUNDS = 5
"""Schema of boards from which on no interval leaves the range of its metric: until then it was Student's, whatever
the values could be."""
KEPT = 0.95
"""Smallest share of its budget that an attack spends without a note that says why."""

# Written out, though suites list them too: this floor knows no attack, and boards that are out keep their words.
_WORDS = {
    "bn_mode": ("eval", "train"),
    "precision": ("float32", "tf32", "bf16"),
    "client_precision": ("float32", "float64"),
    "victim_state": ("untrained", "untrained_degenerate", "early", "trained", "pretrained"),
    "state": get_args(State),
    "works": ("", "true", "false"),
}
Levels = Mapping[str, Mapping[str, str]]
"""Setting column -> word that it may hold -> meaning: what only the floor that grants it knows."""
_ROUNDING = 1e-6  # of a mean of values in single precision


def metrics_of(words: Words) -> list[str]:
    """The metrics of a board, plug-ins' too: those that have all three columns."""
    names = [name.removesuffix("_mean") for name in words if name.endswith("_mean")]
    return [name for name in names if f"{name}_low" in words and f"{name}_high" in words and not name.endswith("_gain")]


def has_bounds(words: Words) -> bool:
    """Whether the row is of a schema whose intervals stay in the range of their metrics."""
    return words["schema"].isdecimal() and int(words["schema"]) >= FIRST_WITH_BOUNDS


def row_faults(row: PublishedRow, levels: Levels) -> Iterator[str]:
    """One line for each rule that a row breaks by itself."""
    words = row.words
    for fault in (_schema(words), *_wrong_words(words, levels), *_wrong_numbers(words)):
        if fault:
            yield fault
            return  # what follows computes with these words and numbers
    yield from _counts(row)
    yield from _intervals(words)
    yield from _unmeasured(words)
    yield from _verdict(row)
    yield from _overspent(row)


def spends_less(row: PublishedRow) -> str:
    """What a row spent less than its budget without saying why; empty where it kept to it or `paper` decides."""
    cell, words, spent = row.cell, row.words, _value(row.words["evaluations"])
    # A control of every attack, as the mean image, evaluates nothing: it has no budget to keep to.
    attacks = not cell.is_control or bool(cell.preset)
    if not (attacks and cell.budget.isdecimal()) or math.isnan(spent) or spent >= KEPT * int(cell.budget):
        return ""
    if BUDGET_LEFT in words["notes"] or words["n_diverged"] != "0":
        return ""
    return f"spent {spent:g} of {cell.budget} evaluations and no note says why (`{BUDGET_LEFT}: ...`)"


def _schema(words: Words) -> str:
    version = words["schema"]
    if not version.isdecimal() or version == "0":
        return f"schema is {version!r}, not a version from 1"
    newer = int(version) > LEADERBOARD_SCHEMA
    return f"schema is {version}, this version knows up to {LEADERBOARD_SCHEMA}: upgrade" if newer else ""


def _wrong_words(words: Words, levels: Levels) -> Iterator[str]:
    for name, allowed in {**_WORDS, **levels}.items():
        if words[name] not in allowed:
            yield f"{name} is {words[name]!r}, not one of {', '.join(filter(None, allowed))}"


def _wrong_numbers(words: Words) -> Iterator[str]:
    """Numbers that are none, not finite or outside what their column can hold; empty ones are not measured."""
    for name, column in leaderboard_columns(metrics_of(words)).items():
        word = words.get(name, "")
        # The size of images may be two numbers; that it is one or two was asked when the row's cell was made.
        if not word or not column.is_number or column.unit == "px":
            continue
        try:
            value = count(name, word) if column.is_integer else number(name, word)
        except ValueError as error:
            yield str(error)
            continue
        # What is not measured is empty, and an exact image counts as the cap: no number here is NaN or infinite.
        is_free = name.endswith(("_low", "_high")) and not has_bounds(words)
        in_range = is_free or column.low - _ROUNDING <= value <= column.high + _ROUNDING
        if not (math.isfinite(value) and in_range):
            yield f"{name} is {value:g}, outside {column.low:g} to {column.high:g}"


def _counts(row: PublishedRow) -> Iterator[str]:
    words, batch_size = row.words, row.cell.batch_size
    batches, images, diverged, failed, skipped = (
        int(words[f"n_{counted}"] or 0) for counted in ("batches", "images", "diverged", "failed", "skipped")
    )
    # A batch is scored whole or not at all.
    if images != batches * batch_size:
        yield f"n_images is {images}, not {batches} batches of {batch_size}"
    if diverged > batches:
        yield f"n_diverged is {diverged}, of {batches} scored batches"
    if words["state"] == "done" and diverged + failed + skipped:
        yield f"state is done, but {diverged + failed + skipped} batches diverged, failed or were skipped"
    if not batches and not words["notes"]:
        yield "no batch has values and notes give no reason"


def _intervals(words: Words) -> Iterator[str]:
    for metric in (*metrics_of(words), "psnr_gain"):
        low, high = (_value(words[f"{metric}_{bound}"]) for bound in ("low", "high"))
        if low > high:
            yield f"{metric}_low is {low:g}, above {metric}_high {high:g}"


def _unmeasured(words: Words) -> Iterator[str]:
    """A metric of a scored row that is empty needs its reason."""
    if words["n_batches"] == "0":
        return
    for metric in board_metrics():
        # A column that a board does not have is not empty: it is from before the metric.
        if words.get(f"{metric}_mean") == "" and f"{metric}:" not in words["notes"]:
            yield f"{metric}_mean is empty and notes give no reason (`{metric}: ...`)"


def _verdict(row: PublishedRow) -> Iterator[str]:
    words = row.words
    if row.cell.is_control and (words["works"] == "true" or words["best_control"]):
        yield "a control has no `works` and no `best_control`"
    elif int(words["schema"]) < FIRST_WITH_RESPECTS:
        yield from _verdict_on_pixels(words)
    else:
        yield from _verdict_on_respects(words)


def _verdict_on_pixels(words: Words) -> Iterator[str]:
    """Boards from before the verdict knew more than PSNR: `works` follows from one interval."""
    low = _value(words["psnr_gain_low"])
    expected = "" if math.isnan(low) else "true" if low > 0 else "false"
    if words["works"] != expected:
        yield f"works is {words['works']!r}, but psnr_gain_low {words['psnr_gain_low'] or 'is empty'}"


def _verdict_on_respects(words: Words) -> Iterator[str]:
    """`works` and `leaks` follow from the respects, and none leaks whose interval holds 0, or all of identity's."""
    gradient, statistics = parted(words["from_gradient"]), parted(words["from_statistics"])
    if (words["works"] == "true") != bool(gradient):
        yield f"works is {words['works']!r}, but from_gradient {words['from_gradient'] or 'is empty'}"
    further = {*parted(words["leaks"])} ^ {*gradient, *statistics}
    # Where statistics are granted a respect may leak without a source that is shown, but never the other way round.
    if further != {*unattributed(words)}:
        yield f"leaks is {words['leaks']!r}, not what from_gradient and from_statistics name"
    for respect in gradient:
        low = f"{'psnr' if respect == 'pixels' else respect}_gain_low"
        # Identity may leak by the share of images too, which the oldest boards have no column for: their images tell.
        by_share = "identified_low" not in words or _value(words["identified_low"]) > 0
        # Of this there is no interval of the gain: here, too, the images tell.
        anywhere = bool(words.get(f"{ANYWHERE}_mean"))
        if respect == "identity" and (by_share or anywhere):
            continue
        if not _value(words[low]) > 0:  # written so that an empty one fails it
            yield f"from_gradient names {respect}, but {low} is {words[low] or 'empty'}"


def _overspent(row: PublishedRow) -> Iterator[str]:
    budget, said = row.cell.budget, _value(row.words["evaluations"])
    # Boards from before the victims counted have no such column.
    counted = _value(row.words.get("evaluations_counted", ""))
    # A budget of `paper` is the preset's own, which no board can know.
    if budget.isdecimal() and said > int(budget):
        yield f"spent {said:g} evaluations, its budget is {budget}"
    elif budget.isdecimal() and counted > int(budget):
        yield f"spent {counted:g} evaluations by the victim's count, its budget is {budget}"


def _value(word: str) -> float:
    return float(word) if word else math.nan
