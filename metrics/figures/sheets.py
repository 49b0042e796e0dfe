"""Contact sheets: originals above reconstructions and their best controls, with the values under each picture."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from gradinv.metrics.figures.style import DARK_GREY, drawing, save
from gradinv.metrics.records.pictures import read_tensors
from gradinv.metrics.records.reading import batch_means, controls_of, trials_by_cell
from gradinv.metrics.records.record import Cell, ImageScore, Record
from gradinv.metrics.records.settings import by_setting, granted, slug, title, varying, wrap_key
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

IMAGES, ATTACKS_PER_SHEET = 8, 10
SPREAD_GAIN = 4
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Inches. 160 dots at 150 dpi: pictures of 16, 32, 80 or 160 pixels are enlarged evenly.
_PICTURE = 160 / 150
_WORDS, _LINE, _MARGIN = 1.9, 0.17, 0.12
_ROW, _COLUMN = _PICTURE + 0.36, _PICTURE + 0.18

Trials = Mapping[Cell, Sequence[Record]]
Place = tuple[int, int]


@dataclass(frozen=True)
class Choice:
    """Which images a sheet shows, and how they came to be chosen, in words."""

    places: Sequence[Place]
    words: str


@dataclass(frozen=True)
class Row:
    """One line of pictures: its words, the cell they come from (None: the originals), and which tensor of it."""

    label: str
    cell: Cell | None
    tensor: str = "reconstruction"


def draw_sheets(records: Sequence[Record], directory: Path, out_dir: Path) -> list[Path]:
    """Draw `images-*.png` for each setting from the tensors of the trials in `directory`; returns the files.

    Shows the first images in batch order, never chosen ones; where there are more, `grid-*` (PNG and PDF) shows those
    at fixed quantiles of the first attack's PSNR. Beneath each attack stands the control with the highest mean PSNR.
    A trial whose tensors are missing leaves an empty place. More than 10 attacks take several sheets.
    """
    trials = trials_by_cell(records)
    groups = by_setting(trials)
    also = varying(setting for setting, _ in groups)
    paths: list[Path] = []
    with drawing():
        for setting, cells in groups:
            heading = f"{title(setting, also)}\n{granted(setting)}"
            here = {cell: trials[cell] for cell in cells}
            attacks = [cell for cell in cells if not cell.is_control and any(t.is_scored for t in here[cell])]
            for page, start in enumerate(range(0, len(attacks), ATTACKS_PER_SHEET), start=1):
                shown = attacks[start : start + ATTACKS_PER_SHEET]
                figure = _sheet(heading, shown, here, directory, _first(shown, here))
                name = f"images-{slug(setting, also)}" + (f"-{page}" if page > 1 else "")
                paths += save(figure, out_dir / name, kinds=("png",))
            if sum(len(trial.images) for cell in attacks[:1] for trial in here[cell]) > IMAGES:
                choice = _at_quantiles(attacks[0], here)
                figure = _sheet(heading, attacks[:ATTACKS_PER_SHEET], here, directory, choice)
                paths += save(figure, out_dir / f"grid-{slug(setting, also)}")
    return paths


def _sheet(heading: str, attacks: Sequence[Cell], trials: Trials, directory: Path, choice: Choice) -> Figure:
    pictures = _Pictures(directory)
    places, rows = choice.places, _rows(attacks, trials)
    width = _MARGIN + _WORDS + _COLUMN * max(len(places), 4)
    caption = f"{choice.words} Best control: highest mean PSNR."
    head, footer = _wrapped([*heading.split("\n"), caption], width), _wrapped(_footer(trials), width)
    above = _LINE * (len(head) + 1.5)
    height = above + _ROW * len(rows) + _LINE * (len(footer) + 0.5)
    figure = Figure(figsize=(width, height))
    page = figure.add_axes((0, 0, 1, 1))
    page.axis("off")
    page.text(_MARGIN, height - _MARGIN, "\n".join(head), va="top", fontsize=8.5, linespacing=1.4)
    for index, row in enumerate(rows):
        top = height - above - _ROW * index
        is_control = row.cell is not None and row.cell.is_control
        weight = "normal" if is_control else "bold"
        page.text(_MARGIN, top - _PICTURE / 2, row.label, va="center", fontsize=8, weight=weight)
        for column, place in enumerate(places):
            _picture(page, (_MARGIN + _WORDS + _COLUMN * column, top), row, trials, place, pictures)
    page.text(_MARGIN, _MARGIN, "\n".join(footer), va="bottom", fontsize=7.5, color=DARK_GREY)
    page.set(xlim=(0, width), ylim=(0, height))  # the page is measured in inches
    return figure


def _first(attacks: Sequence[Cell], trials: Trials) -> Choice:
    """The first images that any of the attacks has."""
    found = {(t.repetition, image.slot) for cell in attacks for t in trials[cell] for image in t.images}
    places = sorted(found)[:IMAGES]
    return Choice(places, f"First {len(places)} images in batch order, not chosen.")


def _at_quantiles(attack: Cell, trials: Trials) -> Choice:
    """The images of an attack at fixed quantiles of its PSNR, from its worst to its best."""
    ordered = sorted(
        (image.metrics["psnr"], trial.repetition, image.slot)
        for trial in trials[attack]
        for image in trial.images
        if "psnr" in image.metrics
    )
    chosen = dict.fromkeys(ordered[round(share * (len(ordered) - 1))][1:] for share in QUANTILES if ordered)
    shares = ", ".join(f"{share:.0%}" for share in QUANTILES)
    return Choice(list(chosen), f"The images at these quantiles of the PSNR of {attack.key}: {shares}.")


def _rows(attacks: Sequence[Cell], trials: Trials) -> list[Row]:
    rows = [Row("original", None)]
    for attack in attacks:
        rows.append(Row(wrap_key(attack.key, 24), attack))
        if any("agent_spread" in image.details for trial in trials[attack] for image in trial.images):
            rows.append(Row("  consensus\n  of its agents", attack, "consensus"))
            rows.append(Row(f"  spread of its\n  agents, times {SPREAD_GAIN}", attack, "spread"))
        best = _best_control(attack, trials)
        rows += [] if best is None else [Row(f"  best control:\n  {best.attack}", best)]
    return rows


def _best_control(attack: Cell, trials: Trials) -> Cell | None:
    """The control with the highest mean PSNR; None where no control of this attack has values."""
    values = {control: batch_means(trials[control], "psnr") for control in controls_of(attack, trials)}
    means = {control: np.mean(list(found.values())) for control, found in values.items() if found}
    return max(means, key=lambda control: means[control], default=None)


def _footer(trials: Trials) -> list[str]:
    """One line for each attack that has no pictures here, with its reason."""
    return [
        f"{cell.key}: {runs[0].state}: {runs[0].reason or 'no reason recorded'}"
        for cell, runs in trials.items()
        if not cell.is_control and not any(run.is_scored for run in runs)
    ]


def _wrapped(lines: Sequence[str], width: float) -> list[str]:
    """The lines, broken where they would leave a page of `width` inches."""
    return [part for line in lines for part in textwrap.wrap(line, int(13.5 * width))]


class _Pictures:
    """Tensors of the trials of one run directory, each file read once for a sheet."""

    def __init__(self, directory: Path) -> None:
        self._load = cache(lambda trial: read_tensors(directory / "trials" / trial / "tensors.safetensors"))

    def get(self, trial: Record, name: str, slot: int) -> np.ndarray | None:
        """The picture (H, W, 3) of one slot, uint8; None where it is not on disk."""
        images = self._load(trial.id).get(name)
        return None if images is None or slot >= len(images) else images[slot].transpose(1, 2, 0)


def _picture(
    page: Axes, corner: tuple[float, float], row: Row, trials: Trials, place: Place, pictures: _Pictures
) -> None:
    """One picture below its upper left corner, values beneath, or an empty frame with the reason in words."""
    left, top = corner
    middle, bottom = left + _PICTURE / 2, top - _PICTURE
    repetition, slot = place
    runs = [run for found in ([trials[row.cell]] if row.cell else trials.values()) for run in found]
    here = [run for run in runs if run.repetition == repetition and run.images]
    shown = "original" if row.cell is None else row.tensor
    found = next((picture for run in here if (picture := pictures.get(run, shown, slot)) is not None), None)
    if found is None:
        page.add_patch(Rectangle((left, bottom), _PICTURE, _PICTURE, color="#f0f0f0"))
        words = _why_empty(runs, repetition)
        page.text(middle, top - _PICTURE / 2, words, ha="center", va="center", fontsize=7, color=DARK_GREY)
    else:
        if row.tensor == "spread":
            found = np.minimum(found.astype(np.uint16) * SPREAD_GAIN, 255).astype(np.uint8)
        page.imshow(found, interpolation="nearest", extent=(left, left + _PICTURE, bottom, top), aspect="auto")
    words = f"batch {repetition}, slot {slot}" if row.cell is None else _words(here[0], slot, row) if here else ""
    page.text(middle, bottom - 0.05, words, ha="center", va="top", fontsize=7)


def _why_empty(runs: Sequence[Record], repetition: int) -> str:
    state = next((run.state for run in runs if run.repetition == repetition), "not run")
    return "no picture\non disk" if state in ("done", "diverged") else state


def _words(trial: Record, slot: int, row: Row) -> str:
    """What is said beneath one picture."""
    score = next((image for image in trial.images if image.slot == slot), None)
    if row.tensor == "reconstruction":
        return _values(trial, score)
    details = {} if score is None else score.details
    shown = {"consensus": ("consensus_psnr", "PSNR", 1), "spread": ("agent_spread", "mean", 3)}
    name, heading, digits = shown[row.tensor]
    return f"{heading} {details[name]:.{digits}f}" if name in details else ""


def _values(trial: Record, score: ImageScore | None) -> str:
    """The values of one picture, e.g. `PSNR 12.3 · SSIM 0.45`."""
    words = [] if score is None else [_value(score, "psnr", "PSNR", 1), _value(score, "ssim", "SSIM", 2)]
    text = " · ".join(word for word in words if word)
    return f"{text}\ndiverged" if trial.state == "diverged" else text


def _value(score: ImageScore, metric: str, heading: str, digits: int) -> str:
    value = score.metrics.get(metric, math.nan)
    return "" if math.isnan(value) else f"{heading} {round(value, digits) + 0.0:.{digits}f}"
