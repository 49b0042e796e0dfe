"""Contact sheets: originals above reconstructions and their best controls, with the values under each picture."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gradinv.metrics.figures.presentation import name_of, width_asked
from gradinv.metrics.figures.sheet_page import Place, SheetFormat, SheetRow, draw_page, sheet_format
from gradinv.metrics.figures.skeleton import Drawing, Scene, Trials, scenes
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
QUANTILES = 5
"""Of an attack's PSNR, from its worst image to its best, at equal distances: so many where they have room."""


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


def sheet_drawings(records: Sequence[Record], runs: Sequence[Path]) -> Iterator[Drawing]:
    """Draw `images-*` for each setting from the tensors of the trials in the run directories; returns the files.

    Shows the first images in batch order, never chosen ones; where there are more, `grid-*` (PNG and PDF) shows those
    at fixed quantiles of the first attack's PSNR. Beneath each attack stands the control with the highest mean PSNR.
    A trial whose tensors are missing leaves an empty place. More than 10 attacks take several sheets.

    In a width that is asked for words keep their size: there are as many images as have room beside each other, and
    as many attacks as fit a page; the heading says how many images there are.
    """
    return _drawings(scenes(records), Pictures(runs))


def _drawings(shown: Iterable[Scene], pictures: Pictures) -> Iterator[Drawing]:
    for scene in shown:
        attacks = [cell for cell in scene.attacks if any(trial.is_scored for trial in scene.trials[cell])]
        columns = len(_first(attacks, scene.trials).images)
        for page, on_page in enumerate(_pages(attacks, scene.trials, columns), start=1):
            draw = partial(_sheet, scene, on_page, _first(on_page, scene.trials), pictures)
            yield Drawing(f"images-{scene.name}" + (f"-{page}" if page > 1 else ""), draw)
        if attacks and sum(len(trial.images) for trial in scene.trials[attacks[0]]) > IMAGES_SHOWN:
            choice = _at_quantiles(attacks[0], scene.trials)
            on_page = _pages(attacks, scene.trials, len(choice.images))[0]
            draw = partial(_sheet, scene, on_page, choice, pictures)
            yield Drawing(f"grid-{scene.name}", draw)


def _pages(attacks: Sequence[Cell], trials: Trials, columns: int) -> list[list[Cell]]:
    """The attacks of each sheet: ten, or as many as fit a page of a paper where a width is asked for."""
    if width_asked() is None:
        return [list(attacks[start : start + ATTACKS_PER_SHEET]) for start in range(0, len(attacks), ATTACKS_PER_SHEET)]
    room = sheet_format(columns).rows_on_a_page
    pages: list[list[Cell]] = []
    for attack in attacks:
        # One with its consensus, its spread and its control may need more than a page: it has one all the same.
        if not pages or len(_rows([*pages[-1], attack], trials)) > room:
            pages.append([])
        pages[-1].append(attack)
    return pages


def _sheet(scene: Scene, attacks: Sequence[Cell], choice: Choice, pictures: Pictures) -> Figure:
    form = sheet_format(len(choice.images))
    rows = [
        SheetRow(
            row.label,
            row.cell is None or not row.cell.is_control,
            [_place(row, _runs_of(row, scene.trials), image, pictures, form) for image in choice.images],
        )
        for row in _rows(attacks, scene.trials)
    ]
    heading = [scene.title, granted(scene.setting), f"{choice.words} Best control: highest mean PSNR."]
    return draw_page(form, heading, rows, _footer(scene.trials))


def _first(attacks: Sequence[Cell], trials: Trials) -> Choice:
    """The first images that any of the attacks has, as many as have room."""
    images = first_images(trial for attack in attacks for trial in trials[attack])
    shown = images[: sheet_format(len(images)).columns]
    of_all = f" of {len(images)}" * (len(shown) < len(images))
    return Choice(shown, f"First {len(shown)}{of_all} images in batch order, not chosen.")


def _at_quantiles(attack: Cell, trials: Trials) -> Choice:
    """The images of an attack at fixed quantiles of its PSNR, from its worst to its best, as many as have room."""
    by_psnr = sorted(
        (image.metrics["psnr"], BatchSlot(trial.repetition, image.slot))
        for trial in trials[attack]
        for image in trial.images
        if "psnr" in image.metrics
    )
    columns = sheet_format(QUANTILES).columns
    # Of one image alone the median says more than the worst.
    quantiles = np.linspace(0, 1, columns) if columns > 1 else np.array([0.5])
    # dict.fromkeys: of few images several quantiles are the same one.
    chosen = dict.fromkeys(by_psnr[round(share * (len(by_psnr) - 1))][1] for share in quantiles if by_psnr)
    shares = ", ".join(f"{share:.0%}" for share in quantiles)
    return Choice(list(chosen), f"The images at these quantiles of the PSNR of {attack.key}: {shares}.")


def _rows(attacks: Sequence[Cell], trials: Trials) -> list[PictureRow]:
    letters = sheet_format(IMAGES_SHOWN).letters
    labels = {
        "consensus": "  consensus\n  of its agents",
        "spread": f"  spread of its\n  agents, times {SPREAD_GAIN}",
    }
    rows = [PictureRow("original", None)]
    for attack in attacks:
        for tensor in shown_tensors(trials[attack]):
            rows.append(PictureRow(labels.get(tensor, name_of(attack.key, letters)), attack, tensor))
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


def _runs_of(row: PictureRow, trials: Trials) -> list[Record]:
    """The trials whose pictures stand in a row: of the originals every trial has its copy."""
    if row.cell is not None:
        return list(trials[row.cell])
    return [run for runs in trials.values() for run in runs]


def _place(row: PictureRow, runs: Sequence[Record], image: BatchSlot, pictures: Pictures, form: SheetFormat) -> Place:
    """One picture with its values, or the reason in words why there is none."""
    # Of the batch that is shown; a trial without values has neither pictures nor a caption.
    scored = [run for run in runs if run.repetition == image.batch and run.images]
    shown = "original" if row.cell is None else row.tensor
    # One at a time: every trial has its copy of the original, and the first is enough.
    candidates = (pictures.get(run, shown, image.slot) for run in scored)
    picture = next((pixels for pixels in candidates if pixels is not None), None)
    if row.cell is None:
        caption = form.joined([f"batch {image.batch}", f"slot {image.slot}"], ", ")
    else:
        caption = _caption(scored[0], image.slot, row, form) if scored else ""
    return Place(picture, caption, _why_empty(runs, image.batch))


def _why_empty(runs: Sequence[Record], batch: int) -> str:
    run = next((run for run in runs if run.repetition == batch), None)
    if run is None:
        return "not run"
    return "no picture\non disk" if run.is_scored else run.state


def _caption(trial: Record, slot: int, row: PictureRow, form: SheetFormat) -> str:
    """What is said beneath one picture, e.g. `PSNR 12.3 · rank 4`."""
    score = next((image for image in trial.images if image.slot == slot), None)
    if row.tensor == "reconstruction":
        text = "" if score is None else form.joined(_values(score), " · ")
        return f"{text}\ndiverged" if trial.state == "diverged" else text
    details = {} if score is None else score.details
    shown = {"consensus": ("consensus_psnr", "PSNR", 1), "spread": ("agent_spread", "mean", 3)}
    name, heading, digits = shown[row.tensor]
    return f"{heading} {fixed(details[name], digits)}" if name in details else ""


def _values(score: ImageScore) -> list[str]:
    headings = {"psnr": ("PSNR", 1)}  # fewer digits than in tables: there is no room
    texts = {name: fixed(score.metrics[name], headings[name][1]) for name in headings if name in score.metrics}
    words = [f"{headings[name][0]} {text}" for name, text in texts.items() if text]
    return [*words, *_rank(score)]


def _rank(score: ImageScore) -> list[str]:
    """The larger of the judges' ranks of the original; nothing where no pool is known."""
    normalised = [value for name, value in score.metrics.items() if judge_of(name)]
    if not normalised or "identity_pool" not in score.details:
        return []
    return [f"rank {rank_of(max(normalised), score.details['identity_pool']):.0f}"]
