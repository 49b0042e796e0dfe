"""Whether a board may be published: its rows, their controls, their images, and the records behind them."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from gradinv.metrics.boards.contest import fragile
from gradinv.metrics.boards.image_table import read_board
from gradinv.metrics.boards.rows import (
    PublishedRow,
    Words,
    cell_in,
    images_beside,
    read_table,
    require,
    words_of,
)
from gradinv.metrics.boards.rules import FIRST_WITH_RESPECTS, Levels, has_bounds, metrics_of, row_faults, spends_less
from gradinv.metrics.boards.verdict_fields import gain_fields, leak_fields
from gradinv.metrics.comparison import FEWEST, in_words, nearest
from gradinv.metrics.leakage import Leakage, leakage_of, parted, sentence
from gradinv.metrics.records import (
    SETTING,
    Address,
    Sample,
    address_of,
    belongs_to,
    controls_for,
    controls_of,
    sample_means_by_images,
)
from gradinv.metrics.statistics import interval, metric_interval

# Of each kind one at least: the first says what luck and priors give, the second what any image of the class gives.
GRADIENT_CONTROLS = ("other_gradient", "prior_only")
IMAGE_CONTROLS = ("mean_image", "same_class")
_IDENTITY = ("attack", "preset", "parameters", "tuning", *SETTING)
_COUNTS = ("n_batches", "n_images", "n_diverged", "n_failed", "n_skipped")
_GAIN = ("best_control", "psnr_gain_mean", "psnr_gain_low", "psnr_gain_high", "works")
_MEASURED = ("psnr_mean", "psnr_low", "psnr_high", "evaluations", "seconds_mean")
# Not every column of today: later ones of this schema are missing in boards that were published before them.
_REQUIRED = (*_IDENTITY, *_COUNTS, "state", "is_control", *_MEASURED, *_GAIN, "versions", "date", "schema", "notes")
_PARTS = ("low", "high", "mean")
_TOLERANCE = 1e-6  # relative: another version of numpy may add in another order

Fault = tuple[PublishedRow, str]
"""A row and what is wrong with it, in words."""


@dataclass(frozen=True)
class Checked:
    """What a check found: faults refuse the board, warnings say what no claim may rest on.

    `fragile` names the verdicts that a single batch decides; `samples` are those of the images beside the board.
    """

    rows: Sequence[PublishedRow]
    faults: Sequence[str]
    warnings: Sequence[str]
    fragile: Sequence[str] = ()
    samples: Sequence[Sample] = ()


def no_answer(_: str) -> str:
    """Nothing is known of any defense."""
    return ""


def check_board(path: Path, levels: Levels = MappingProxyType({}), answer: Callable[[str], str] = no_answer) -> Checked:
    """Check a board with the image table beside it, one line for each fault and warning.

    `levels` are the words that setting columns may hold, where that is for the caller to know (what can be granted).
    `answer` names what an attacker who knows a defense does, empty where nothing is known: the caller knows defenses.

    Rows are checked one by one first; only where all are sound, their controls, claims and images. Raises BoardError
    where the file is no board. What is checked stands in leaderboards/how-to-submit.md.
    """
    header, lines = read_table(path)
    require(path, header, _REQUIRED, "board of attacks")
    rows: list[PublishedRow] = []
    faults: list[str] = []
    for line, fields in lines:
        try:
            rows.append(_row(line, words_of(header, fields)))
        except ValueError as error:
            faults.append(f"{path}:{line}: {error}")
    faults += _placed(path, ((row, text) for row in rows for text in row_faults(row, levels)))
    # What follows pairs rows and reads their numbers: of a broken row it would say what is not so.
    if faults:
        return Checked(rows, faults, [])
    attacks = [row for row in rows if not row.cell.is_control and row.n_batches]
    faults += _placed(path, _twice(rows))
    faults += _placed(path, ((attack, text) for attack in attacks for text in _uncontrolled(attack, rows)))
    faults += _placed(path, _underspent(attacks))
    faults += _placed(path, _unanswered(attacks, answer))
    # An attack that stops without a word is refused; its controls are read by who looks for a reason.
    controls = [row for row in rows if row.cell.is_control]
    warnings = [text for attack in attacks for text in _claims(attack, rows)]
    samples, of_images = _images(path, rows)
    by_address = {address_of(sample.cell): sample for sample in samples}
    decided = ((row, text) for row in attacks if (text := _fragile(row, by_address, samples)))
    return Checked(
        rows,
        [*faults, *_no_claim(path, attacks, rows), *of_images],
        _placed(path, [*warnings, *_underspent(controls)]),
        _placed(path, decided),
        samples,
    )


def _fragile(row: PublishedRow, by_address: Mapping[Address, Sample], samples: Sequence[Sample]) -> str:
    sample = by_address.get(address_of(row.cell))
    return "" if sample is None else fragile(sample, samples)


def _placed(path: Path, faults: Iterable[Fault]) -> list[str]:
    """The faults as lines that say where."""
    return [f"{path}:{row.line}: {row.name}: {text}" for row, text in faults]


def _row(line: int, words: Words) -> PublishedRow:
    """A line of the file; ValueError in words where its identity cannot be read."""
    cell = cell_in(words)
    # Before the other rules, for every one of them reads how many batches there are.
    for name in _COUNTS:
        if not words[name].isdecimal():
            raise ValueError(f"{name} is {words[name]!r}, not a count")
    return PublishedRow(cell, line, words)


def _twice(rows: Iterable[PublishedRow]) -> Iterator[Fault]:
    first_lines: dict[Address, int] = {}
    for row in rows:
        first_line = first_lines.setdefault(address_of(row.cell), row.line)
        if first_line != row.line:
            yield row, f"stands in line {first_line} too"


def _underspent(rows: Iterable[PublishedRow]) -> Iterator[Fault]:
    for row in rows:
        text = spends_less(row)
        if text:
            yield row, text


def _unanswered(attacks: Sequence[PublishedRow], answer: Callable[[str], str]) -> Iterator[Fault]:
    """Rows of a defense that an attacker could answer, without the row of one who does."""
    settings = {(attack.cell.key, attack.cell.setting) for attack in attacks}
    for attack in attacks:
        known = "" if attack.cell.adaptive else answer(attack.cell.defense)
        told = attack.cell.model_copy(update={"adaptive": True})
        if known and (told.key, told.setting) not in settings:
            yield attack, f"no row of an attacker who knows the defense and applies {known}; run it with adaptive: true"


def _controls(attack: PublishedRow, rows: Iterable[PublishedRow]) -> list[PublishedRow]:
    """The rows of the controls that the attack is compared with."""
    by_cell = {row.cell: row for row in rows}
    return [by_cell[cell] for cell in controls_of(attack.cell, by_cell)]


def _uncontrolled(attack: PublishedRow, rows: Sequence[PublishedRow]) -> Iterator[str]:
    """What an attack lacks beside it; a control that was skipped with its reason is there."""
    # A skipped control is one: that it is impossible here stands in its notes, which `row_faults` asks for.
    controls = _controls(attack, rows)
    for names in (GRADIENT_CONTROLS, IMAGE_CONTROLS):
        if not any(control.cell.attack in names for control in controls):
            yield f"no control {' or '.join(names)} in its setting{_elsewhere(attack, names, rows)}"
    best = attack.words["best_control"]
    if best and not any(control.cell.attack == best and control.n_batches for control in controls):
        yield f"best_control {best} has no values in its setting{_elsewhere(attack, [best], rows)}"


def _elsewhere(attack: PublishedRow, names: Sequence[str], rows: Iterable[PublishedRow]) -> str:
    """In words, what was granted differently to the nearest of these controls that stand in another setting."""
    controls = [row.cell for row in rows if belongs_to(row.cell, attack.cell) and row.cell.attack in names]
    fields = nearest((attack.cell, control) for control in controls)
    return f"; the nearest was granted something else: {in_words(fields)}" if fields else ""


def _fewest_batches(attack: PublishedRow, rows: Iterable[PublishedRow]) -> int:
    """Scored batches of the attack, or of the control that has fewest, those without any left out."""
    # A control without values was never compared with: the gain is that over the others.
    counts = [control.n_batches for control in _controls(attack, rows)]
    return min([attack.n_batches, *filter(None, counts)])


def _claims(attack: PublishedRow, rows: Iterable[PublishedRow]) -> Iterator[Fault]:
    """What no claim may rest on."""
    fewest = _fewest_batches(attack, rows)
    if fewest < attack.n_batches:
        yield attack, f"some controls have values for {fewest} of its {attack.n_batches} batches only"
    if attack.words["works"] == "true" and fewest < FEWEST:
        yield attack, f"`works` rests on {fewest} batches; below {FEWEST} it is no claim"
    scored = {control.cell.attack for control in _controls(attack, rows) if control.n_batches}
    if parted(attack.words.get("from_statistics", "")) and "other_statistics" not in scored:
        yield attack, "`from_statistics` was not compared with `other_statistics`: it may be what any statistics bring"


def _no_claim(path: Path, attacks: Iterable[PublishedRow], rows: Sequence[PublishedRow]) -> list[str]:
    if any(_fewest_batches(attack, rows) >= FEWEST for attack in attacks):
        return []
    return [f"{path}: no attack has {FEWEST} batches with its controls, the fewest that allow a claim"]


def _images(path: Path, rows: Sequence[PublishedRow]) -> tuple[list[Sample], list[str]]:
    """The samples of the image table beside the board, and what contradicts the board."""
    images = images_beside(path)
    if not images.is_file():
        return [], [f"{path}: no image table lies beside it ({images.name}); every board ships its own"]
    samples, faults = read_board(images)
    by_address = {address_of(sample.cell): sample for sample in samples}
    for row in rows:
        sample = by_address.get(address_of(row.cell))
        # A row without values has no images; of one that should have some `read_board` has said so.
        if sample is not None:
            faults += _placed(path, ((row, text) for text in _differing(row, sample, samples)))
    return samples, faults


def _differing(row: PublishedRow, sample: Sample, samples: Sequence[Sample]) -> Iterator[str]:
    """Counts, intervals and gain of a row that are not those of its images; `read_board` has compared the means."""
    batches = len({batch for values in sample.values.values() for batch, _ in values})
    if batches != row.n_batches:
        yield f"n_batches is {row.n_batches}, its images are of {batches}"
    for metric in (name for name in metrics_of(row.words) if name in sample.values):
        means = sample.means(metric)
        # In the order of the batches, which the bootstrap resamples by.
        values = [means[batch] for batch in sorted(means)]
        computed = metric_interval(metric, values) if has_bounds(row.words) else interval(values)
        yield from _apart(row.words, metric, {"low": computed.low, "high": computed.high})
    yield from _other_originals(sample, samples)
    if not row.cell.is_control:
        # From the images alone, so that nobody can claim a leak by editing the board.
        yield from _other_verdict(row.words, leakage_of(sample, controls_for(sample, samples)))


def _other_verdict(words: Words, leakage: Leakage) -> Iterator[str]:
    """What a row says of its gains and of what leaks, and its images do not."""
    gains = gain_fields(leakage)
    for name, value in gains.items():
        if name not in words:
            continue  # a board from before this respect
        if isinstance(value, str):
            if words[name] != value:
                yield f"{name} is {words[name]!r}, of its images {value}"
        elif name.endswith("_low"):
            gain = name.removesuffix("_low")
            yield from _apart(words, gain, {part: float(gains[f"{gain}_{part}"]) for part in _PARTS})
    for name, value in {**leak_fields(leakage), "verdict": sentence(leakage)}.items():
        if name in words and int(words["schema"]) >= FIRST_WITH_RESPECTS and words[name] != value:
            yield f"{name} is {words[name]!r}, of its images {value!r}"


def _other_originals(sample: Sample, samples: Sequence[Sample]) -> Iterator[str]:
    """Controls whose batches of the same number hold other originals than the attack's: nothing is paired by them."""
    batches = dict(sample_means_by_images(sample, "psnr"))
    numbers = {batch for batch, _ in batches}
    for name, control in controls_for(sample, samples).items():
        apart = [batch for batch in sample_means_by_images(control, "psnr") if batch not in batches]
        changed = sorted(number for number, _ in apart if number in numbers)
        if changed:
            yield f"{name} has other originals in batches {', '.join(map(str, changed))}: they cannot be paired"


def _apart(words: Words, metric: str, computed: dict[str, float]) -> Iterator[str]:
    """The first of a metric's numbers (`low`, `high`, `mean`) that is not what was computed; one line at most."""
    # One line is enough: where a bound is wrong, the mean will be wrong for the same reason.
    for part, value in computed.items():
        word = words[f"{metric}_{part}"]
        published = float(word) if word else math.nan
        if not _same(published, value):
            yield f"{metric}_{part} is {published:.6g}, of its images {value:.6g}"
            return


def _same(published: float, computed: float) -> bool:
    # An empty field is NaN, which is close to nothing, not even to itself.
    if math.isnan(published) or math.isnan(computed):
        return math.isnan(published) and math.isnan(computed)
    return math.isclose(published, computed, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
