"""Contact sheets: originals above reconstructions and their best controls, with the values under each picture."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from gradinv.metrics.figures.presentation import current, name_of
from gradinv.metrics.figures.skeleton import Drawing, Scene, Trials, scenes
from gradinv.metrics.figures.style import DARK_GREY
from gradinv.metrics.images import judge_of, rank_of
from gradinv.metrics.records import (
    IMAGES_SHOWN,
    SPREAD_GAIN,
    BatchSlot,
    Cell,
    ImageScore,
    Pictures,
    Record,
    batch_means,
    controls_of,
    first_images,
    granted,
    shown_tensors,
)
from gradinv.metrics.typesetting import fixed, state_in_words

ATTACKS_PER_SHEET = 10
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Inches. 160 dots at 150 dpi: pictures of 16, 32, 80 or 160 pixels are enlarged evenly.
_PICTURE = 160 / 150
_WORDS, _LINE, _MARGIN = 1.9, 0.17, 0.12
_ROW, _COLUMN = _PICTURE + 0.36, _PICTURE + 0.18
_LETTERS_PER_INCH = 13.5  # of the heading's font, wide letters included


@dataclass(frozen=True)
class Choice:
    """Which images a sheet shows, and how they came to be chosen, in words."""

    images: Sequence[BatchSlot]
    words: str


@dataclass(frozen=True)
class PictureRow:
    """One row of pictures: its words, the cell they come from (None: the originals), and which tensor of it."""

    label: str
    cell: Cell | None
    tensor: str = "reconstruction"


class Corner(NamedTuple):
    """The upper left corner of a picture, in inches from the lower left one of the page."""

    left: float
    top: float


def sheet_drawings(records: Sequence[Record], runs: Sequence[Path]) -> Iterator[Drawing]:
    """Draw `images-*` for each setting from the tensors of the trials in the run directories; returns the files.

    Shows the first images in batch order, never chosen ones; where there are more, `grid-*` (PNG and PDF) shows those
    at fixed quantiles of the first attack's PSNR. Beneath each attack stands the control with the highest mean PSNR.
    A trial whose tensors are missing leaves an empty place. More than 10 attacks take several sheets.
    """
    return _drawings(scenes(records), Pictures(runs))


def _drawings(shown: Iterable[Scene], pictures: Pictures) -> Iterator[Drawing]:
    for scene in shown:
        attacks = [cell for cell in scene.attacks if any(trial.is_scored for trial in scene.trials[cell])]
        for page, start in enumerate(range(0, len(attacks), ATTACKS_PER_SHEET), start=1):
            on_page = attacks[start : start + ATTACKS_PER_SHEET]
            draw = partial(_sheet, scene, on_page, _first(on_page, scene.trials), pictures)
            yield Drawing(f"images-{scene.name}" + (f"-{page}" if page > 1 else ""), draw)
        if attacks and sum(len(trial.images) for trial in scene.trials[attacks[0]]) > IMAGES_SHOWN:
            choice = _at_quantiles(attacks[0], scene.trials)
            draw = partial(_sheet, scene, attacks[:ATTACKS_PER_SHEET], choice, pictures)
            yield Drawing(f"grid-{scene.name}", draw)


def _sheet(scene: Scene, attacks: Sequence[Cell], choice: Choice, pictures: Pictures) -> Figure:
    rows = _rows(attacks, scene.trials)
    # Four columns at least, else the heading would become a tower.
    width = _MARGIN + _WORDS + _COLUMN * max(len(choice.images), 4)
    words = [scene.title, granted(scene.setting), f"{choice.words} Best control: highest mean PSNR."]
    head = _wrapped(words, width) if current().titles else []
    footer = _wrapped(_footer(scene.trials), width)
    above = _LINE * (len(head) + 1.5)
    height = above + _ROW * len(rows) + _LINE * (len(footer) + 0.5)
    figure = Figure(figsize=(width, height))
    figure.set_label("\n".join(words))
    page = figure.add_axes((0, 0, 1, 1))
    page.axis("off")
    page.text(_MARGIN, height - _MARGIN, "\n".join(head), va="top", fontsize=8.5, linespacing=1.4)
    for index, row in enumerate(rows):
        top = height - above - _ROW * index
        is_control = row.cell is not None and row.cell.is_control
        weight = "normal" if is_control else "bold"
        page.text(_MARGIN, top - _PICTURE / 2, row.label, va="center", fontsize=8, weight=weight)
        for column, image in enumerate(choice.images):
            corner = Corner(_MARGIN + _WORDS + _COLUMN * column, top)
            _picture(page, corner, row, _runs_of(row, scene.trials), image, pictures)
    page.text(_MARGIN, _MARGIN, "\n".join(footer), va="bottom", fontsize=7.5, color=DARK_GREY)
    page.set(xlim=(0, width), ylim=(0, height))  # the page is measured in inches
    _scale(figure, page, (current().width or width) / width)
    return figure


def _scale(figure: Figure, page: Axes, factor: float) -> None:
    """Make a page larger or smaller as a whole, its words with its pictures."""
    width, height = figure.get_size_inches()
    figure.set_size_inches(factor * width, factor * height)
    for text in page.texts:
        text.set_fontsize(factor * float(text.get_fontsize()))


def _first(attacks: Sequence[Cell], trials: Trials) -> Choice:
    """The first images that any of the attacks has."""
    images = first_images(trial for attack in attacks for trial in trials[attack])
    return Choice(images, f"First {len(images)} images in batch order, not chosen.")


def _at_quantiles(attack: Cell, trials: Trials) -> Choice:
    """The images of an attack at fixed quantiles of its PSNR, from its worst to its best."""
    by_psnr = sorted(
        (image.metrics["psnr"], BatchSlot(trial.repetition, image.slot))
        for trial in trials[attack]
        for image in trial.images
        if "psnr" in image.metrics
    )
    # dict.fromkeys: of few images several quantiles are the same one.
    chosen = dict.fromkeys(by_psnr[round(share * (len(by_psnr) - 1))][1] for share in QUANTILES if by_psnr)
    shares = ", ".join(f"{share:.0%}" for share in QUANTILES)
    return Choice(list(chosen), f"The images at these quantiles of the PSNR of {attack.key}: {shares}.")


def _rows(attacks: Sequence[Cell], trials: Trials) -> list[PictureRow]:
    labels = {
        "consensus": "  consensus\n  of its agents",
        "spread": f"  spread of its\n  agents, times {SPREAD_GAIN}",
    }
    rows = [PictureRow("original", None)]
    for attack in attacks:
        for tensor in shown_tensors(trials[attack]):
            rows.append(PictureRow(labels.get(tensor, name_of(attack.key, 24)), attack, tensor))
        best = _best_control(attack, trials)
        rows += [] if best is None else [PictureRow(f"  best control:\n  {best.attack}", best)]
    return rows


def _best_control(attack: Cell, trials: Trials) -> Cell | None:
    """The control with the highest mean PSNR; None where no control of this attack has values."""
    values = {control: list(batch_means(trials[control], "psnr").values()) for control in controls_of(attack, trials)}
    # By the mean, for it is a picture that is chosen; the board's best control is chosen by its interval.
    means: dict[Cell, Any] = {control: np.mean(psnrs) for control, psnrs in values.items() if psnrs}
    return max(means, key=lambda control: means[control], default=None)


def _footer(trials: Trials) -> list[str]:
    """One line for each attack that has no pictures here, with its reason."""
    return [
        f"{cell.key}: {state_in_words(runs[0])}"
        for cell, runs in trials.items()
        if not cell.is_control and not any(run.is_scored for run in runs)
    ]


def _wrapped(lines: Sequence[str], width: float) -> list[str]:
    """The lines, broken where they would leave a page of `width` inches."""
    return [part for line in lines for part in textwrap.wrap(line, int(_LETTERS_PER_INCH * width))]


def _runs_of(row: PictureRow, trials: Trials) -> list[Record]:
    """The trials whose pictures stand in a row: of the originals every trial has its copy."""
    if row.cell is not None:
        return list(trials[row.cell])
    return [run for runs in trials.values() for run in runs]


def _picture(
    page: Axes, corner: Corner, row: PictureRow, runs: Sequence[Record], image: BatchSlot, pictures: Pictures
) -> None:
    """One picture below its upper left corner, values beneath, or an empty frame with the reason in words."""
    middle, bottom = corner.left + _PICTURE / 2, corner.top - _PICTURE
    # Of the batch that is shown; a trial without values has neither pictures nor a caption.
    scored = [run for run in runs if run.repetition == image.batch and run.images]
    shown = "original" if row.cell is None else row.tensor
    # One at a time: every trial has its copy of the original, and the first is enough.
    candidates = (pictures.get(run, shown, image.slot) for run in scored)
    picture = next((pixels for pixels in candidates if pixels is not None), None)
    if picture is None:
        page.add_patch(Rectangle((corner.left, bottom), _PICTURE, _PICTURE, color="#f0f0f0"))
        reason = _why_empty(runs, image.batch)
        page.text(middle, corner.top - _PICTURE / 2, reason, ha="center", va="center", fontsize=7, color=DARK_GREY)
    else:
        left, right, low, high = _placed(picture.shape[1:])
        extent = (corner.left + left, corner.left + right, bottom + low, bottom + high)
        # `equal`, matplotlib's default, would fit the axes of the whole page to each picture.
        page.imshow(picture.transpose(1, 2, 0), interpolation="nearest", extent=extent, aspect="auto")
    if row.cell is None:
        caption = f"batch {image.batch}, slot {image.slot}"
    else:
        caption = _caption(scored[0], image.slot, row) if scored else ""
    page.text(middle, bottom - 0.05, caption, ha="center", va="top", fontsize=7)


def _placed(sides: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a picture (height, width) in the middle of its square place, as it is shaped."""
    height, width = (_PICTURE * side / max(sides) for side in sides)
    left, bottom = (_PICTURE - width) / 2, (_PICTURE - height) / 2
    return left, left + width, bottom, bottom + height


def _why_empty(runs: Sequence[Record], batch: int) -> str:
    run = next((run for run in runs if run.repetition == batch), None)
    if run is None:
        return "not run"
    return "no picture\non disk" if run.is_scored else run.state


def _caption(trial: Record, slot: int, row: PictureRow) -> str:
    """What is said beneath one picture, e.g. `PSNR 12.3 · rank 4`."""
    score = next((image for image in trial.images if image.slot == slot), None)
    if row.tensor == "reconstruction":
        text = "" if score is None else _values(score)
        return f"{text}\ndiverged" if trial.state == "diverged" else text
    details = {} if score is None else score.details
    shown = {"consensus": ("consensus_psnr", "PSNR", 1), "spread": ("agent_spread", "mean", 3)}
    name, heading, digits = shown[row.tensor]
    return f"{heading} {fixed(details[name], digits)}" if name in details else ""


def _values(score: ImageScore) -> str:
    headings = {"psnr": ("PSNR", 1)}  # fewer digits than in tables: there is no room
    texts = {name: fixed(score.metrics[name], headings[name][1]) for name in headings if name in score.metrics}
    words = [f"{headings[name][0]} {text}" for name, text in texts.items() if text]
    return " · ".join([*words, *_rank(score)])


def _rank(score: ImageScore) -> list[str]:
    """The larger of the judges' ranks of the original; nothing where no pool is known."""
    normalised = [value for name, value in score.metrics.items() if judge_of(name)]
    if not normalised or "identity_pool" not in score.details:
        return []
    return [f"rank {rank_of(max(normalised), score.details['identity_pool']):.0f}"]
