"""Whether a board may be published: its rows, their controls, their images, and the records behind them."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradinv.metrics.boards.image_table import read_board
from gradinv.metrics.boards.rows import as_setting, read_table, require, truth, words_of
from gradinv.metrics.boards.rules import Words, metrics_of, row_faults, spends_less
from gradinv.metrics.comparison.compare import FEWEST
from gradinv.metrics.comparison.meetings import differences
from gradinv.metrics.records.record import Cell
from gradinv.metrics.records.samples import Sample, controls_for
from gradinv.metrics.records.settings import SETTING, setting_of
from gradinv.metrics.statistics.intervals import gain_over_controls, interval

GRADIENT_CONTROLS = ("other_gradient", "prior_only")
IMAGE_CONTROLS = ("mean_image", "same_class")
_IDENTITY = ("attack", "preset", "parameters", "tuning", *SETTING)
_COUNTS = ("n_batches", "n_images", "n_diverged", "n_failed", "n_skipped")
_GAIN = ("best_control", "psnr_gain_mean", "psnr_gain_low", "psnr_gain_high", "works")
_MEASURED = ("psnr_mean", "psnr_low", "psnr_high", "evaluations", "seconds_mean")
# Not every column of today: later ones of this schema are missing in boards that were published before them.
_REQUIRED = (*_IDENTITY, *_COUNTS, "state", "is_control", *_MEASURED, *_GAIN, "versions", "date", "schema", "notes")
_TOLERANCE = 1e-6  # relative: another version of numpy may add in another order


@dataclass(frozen=True)
class Row:
    """One row of a board: where it stands in the file, its fields by column, and what they identify."""

    line: int
    words: Words
    cell: Cell

    @property
    def name(self) -> str:
        """The key with the batch size, as faults name it."""
        return f"{self.cell.key} (B={self.cell.batch_size})"

    @property
    def n_batches(self) -> int:
        """Scored batches."""
        return int(self.words["n_batches"])


@dataclass(frozen=True)
class Checked:
    """What a check found: faults refuse the board, warnings say what no claim may rest on."""

    rows: Sequence[Row]
    faults: Sequence[str]
    warnings: Sequence[str]


def check_board(path: Path) -> Checked:
    """Check a board with the image table beside it, one line for each fault and warning.

    Rows are checked one by one first; only where all are sound, their controls, claims and images. Raises BoardError
    where the file is no board. What is checked stands in leaderboards/how-to-submit.md.
    """
    header, lines = read_table(path)
    require(path, header, _REQUIRED, "board of attacks")
    rows: list[Row] = []
    faults: list[str] = []
    for line, fields in lines:
        try:
            rows.append(_row(line, header, fields))
        except ValueError as error:
            faults.append(f"{path}:{line}: {error}")
    faults += [f"{path}:{row.line}: {row.name}: {text}" for row in rows for text in row_faults(row.words, row.cell)]
    if faults:
        return Checked(rows, faults, [])
    groups: dict[object, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.cell.setting, []).append(row)
    found = [*_twice(rows), *(text for row in rows if not row.cell.is_control for text in _uncontrolled(row, rows))]
    found += [(row, text) for row in _attacks(rows) if (text := spends_less(row.words, row.cell))]
    faults += [f"{path}:{row.line}: {row.name}: {text}" for row, text in found]
    claims, warnings = _claims(path, groups.values())
    return Checked(rows, faults + claims + _images(path, rows), warnings)


def _row(line: int, header: Sequence[str], fields: Sequence[str]) -> Row:
    """A line of the file; ValueError in words where its identity cannot be read."""
    if len(fields) != len(header):
        raise ValueError(f"{len(fields)} fields where the header has {len(header)}")
    words = words_of(header, fields)
    if not words["attack"]:
        raise ValueError("attack is empty")
    own = {name: words[name] for name in ("attack", "preset", "parameters", "tuning")}
    is_control = truth("is_control", words["is_control"])
    for name in _COUNTS:
        if not words[name].isdecimal():
            raise ValueError(f"{name} is {words[name]!r}, not a count")
    return Row(line, words, Cell.model_validate({**own, **as_setting(words), "is_control": is_control}))


def _attacks(rows: Iterable[Row]) -> list[Row]:
    """The rows of attacks that have values."""
    return [row for row in rows if not row.cell.is_control and row.n_batches]


def _controls(row: Row, rows: Iterable[Row]) -> list[Row]:
    """The controls of an attack in any setting: its own, and those of every attack."""
    return [other for other in rows if other.cell.is_control and other.cell.preset in ("", row.cell.key)]


def _twice(rows: Iterable[Row]) -> Iterator[tuple[Row, str]]:
    seen: dict[object, int] = {}
    for row in rows:
        place = (row.cell.key, row.cell.is_control, row.cell.setting)
        if place in seen:
            yield row, f"stands in line {seen[place]} too"
        seen.setdefault(place, row.line)


def _uncontrolled(row: Row, rows: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """What an attack lacks beside it; a control that was skipped with its reason is there."""
    if not row.n_batches:
        return
    every = _controls(row, rows)
    here = [other for other in every if other.cell.setting == row.cell.setting]
    for group in (GRADIENT_CONTROLS, IMAGE_CONTROLS):
        if not any(other.cell.attack in group for other in here):
            elsewhere = [other for other in every if other.cell.attack in group]
            yield row, f"no control {' or '.join(group)} in its setting{_elsewhere(row, elsewhere)}"
    best = row.words["best_control"]
    if best and not any(other.cell.attack == best and other.n_batches for other in here):
        named = [other for other in every if other.cell.attack == best]
        yield row, f"best_control {best} has no values in its setting{_elsewhere(row, named)}"


def _elsewhere(row: Row, others: Iterable[Row]) -> str:
    """In words, what was granted differently to the nearest of the controls that stand in another setting."""
    own = setting_of(row.cell)
    apart = [found for other in others if (found := differences(own, setting_of(other.cell)))]
    if not apart:
        return ""
    nearest = min(apart, key=lambda found: (len(found), list(found)))
    fields = ", ".join(f"{name} {mine} against {theirs}" for name, (mine, theirs) in nearest.items())
    return f"; the nearest was granted something else: {fields}"


def _claims(path: Path, groups: Iterable[Sequence[Row]]) -> tuple[list[str], list[str]]:
    """Faults and warnings about what the rows allow to be said."""
    warnings: list[str] = []
    allowed = False
    for rows in groups:
        for row in _attacks(rows):
            where = f"{path}:{row.line}: {row.name}"
            scored = {other.name: other.n_batches for other in _controls(row, rows) if other.n_batches}
            least = min([row.n_batches, *scored.values()])
            allowed = allowed or least >= FEWEST
            if least < row.n_batches:
                warnings.append(f"{where}: some controls have values for {least} of its {row.n_batches} batches only")
            if row.words["works"] == "true" and least < FEWEST:
                warnings.append(f"{where}: `works` rests on {least} batches; below {FEWEST} it is no claim")
        controls = [row for row in rows if row.cell.is_control]
        warnings += [
            f"{path}:{row.line}: {row.name}: {text}" for row in controls if (text := spends_less(row.words, row.cell))
        ]
    if allowed:
        return [], warnings
    return [f"{path}: no attack has {FEWEST} batches with its controls, the fewest that allow a claim"], warnings


def _images(path: Path, rows: Sequence[Row]) -> list[str]:
    """What the image table beside the board contradicts."""
    images = path.with_suffix(".images.csv")
    if not images.is_file():
        return [f"{path}: no image table lies beside it ({images.name}); every board ships its own"]
    samples, faults = read_board(images)
    by_place = {sample.place: sample for sample in samples}
    for row in rows:
        sample = by_place.get((row.cell.key, *setting_of(row.cell).values()))
        if sample is not None:
            faults += [f"{path}:{row.line}: {row.name}: {text}" for text in _differing(row, sample, samples)]
    return faults


def _differing(row: Row, sample: Sample, samples: Sequence[Sample]) -> Iterator[str]:
    """Counts, intervals and gain of a row that are not those of its images; `read_board` has compared the means."""
    batches = len({batch for values in sample.values.values() for batch, _ in values})
    if batches != row.n_batches:
        yield f"n_batches is {row.n_batches}, its images are of {batches}"
    for metric in (name for name in metrics_of(row.words) if name in sample.values):
        means = sample.means(metric)
        found = interval([means[batch] for batch in sorted(means)])
        yield from _apart(row.words, metric, found.low, found.high)
    own = sample.means("psnr")
    controls = {name: other.means("psnr") for name, other in controls_for(sample, samples).items()}
    gain = None if row.cell.is_control or not own else gain_over_controls(own, controls, higher_is_better=True)
    if gain is None:
        return
    if gain.control != row.words["best_control"]:
        yield f"best_control is {row.words['best_control']!r}, of its images {gain.control}"
    yield from _apart(row.words, "psnr_gain", gain.low, gain.high, gain.mean)


def _apart(words: Words, metric: str, low: float, high: float, mean: float | None = None) -> Iterator[str]:
    """The bounds, and the mean where given, that are not what was found; one line at most."""
    found = {"low": low, "high": high} | ({} if mean is None else {"mean": mean})
    for bound, value in found.items():
        word = words[f"{metric}_{bound}"]
        published = float(word) if word else math.nan
        if not _same(published, value):
            yield f"{metric}_{bound} is {published:.6g}, of its images {value:.6g}"
            return


def _same(one: float, other: float) -> bool:
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
