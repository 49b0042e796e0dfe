"""The pictures of a page: originals above reconstructions and their controls, and how the first one came about."""

from collections.abc import Sequence
from typing import NamedTuple

from gradinv.metrics.boards import BoardLine
from gradinv.metrics.records import SPREAD_GAIN, BatchSlot, ImageScore, PictureFolder, first_images, shown_tensors
from gradinv.metrics.typesetting import fixed


class Tile(NamedTuple):
    """One picture: its file, what it shows in words, what stands beneath it. Without a file, the caption says why."""

    file: str
    alt: str
    caption: str


class Strip(NamedTuple):
    """A row of pictures under one name."""

    name: str
    is_control: bool
    tiles: list[Tile]


def strips(lines: Sequence[BoardLine], folder: PictureFolder) -> tuple[list[str], list[Strip]]:
    """The first images of the first line as (names in words, strips): the originals, then each line's pictures."""
    images = first_images(lines[0].trials)
    if not images:
        return [], []
    # The first ones, as on a contact sheet: who chooses images chooses results.
    rows = [Strip("original", False, [_original(lines, image, folder) for image in images])]
    for line in lines:
        for tensor in shown_tensors(line.trials):
            tiles = [_tile(line, tensor, image, folder) for image in images]
            rows.append(Strip(_strip_name(line, tensor), line.cell.is_control, tiles))
    return [_in_words(image) for image in images], rows


def _in_words(image: BatchSlot) -> str:
    return f"batch {image.batch}, slot {image.slot}"


def _strip_name(line: BoardLine, tensor: str) -> str:
    if tensor == "reconstruction":
        return line.cell.attack if line.cell.is_control else line.cell.key
    return {"consensus": "consensus of its agents", "spread": f"spread of its agents, times {SPREAD_GAIN}"}[tensor]


def _original(lines: Sequence[BoardLine], image: BatchSlot, folder: PictureFolder) -> Tile:
    """The original, from the first trial that has a copy: that of a failed one was never written."""
    trials = [trial for line in lines for trial in line.trials if trial.repetition == image.batch]
    file = next((file for trial in trials if (file := folder.picture(trial, "original", image.slot))), "")
    return Tile(file, f"original, {_in_words(image)}", "" if file else "not on disk")


def _tile(line: BoardLine, tensor: str, image: BatchSlot, folder: PictureFolder) -> Tile:
    trial = next((trial for trial in line.trials if trial.repetition == image.batch), None)
    if trial is None or not trial.is_scored:
        return Tile("", "", "not run" if trial is None else trial.state)
    score = next((score for score in trial.images if score.slot == image.slot), None)
    file = folder.picture(trial, tensor, image.slot)
    remarks = [*_values(tensor, score), *["not on disk"] * (not file), *["diverged"] * (trial.state == "diverged")]
    return Tile(file, f"{tensor} by {line.cell.key}, {_in_words(image)}", ", ".join(remarks))


def _values(tensor: str, score: ImageScore | None) -> list[str]:
    """The values of one picture: PSNR and SSIM, or what the agents say of it."""
    if score is None:
        return []
    # Name -> decimals and unit; fewer decimals than in tables, for a tile is narrow.
    numbers, formats = {
        "reconstruction": (score.metrics, {"psnr": (1, " dB"), "ssim": (2, "")}),
        "consensus": (score.details, {"consensus_psnr": (1, " dB")}),
        "spread": (score.details, {"agent_spread": (3, "")}),
    }[tensor]
    return [f"{fixed(numbers[name], digits)}{unit}" for name, (digits, unit) in formats.items() if name in numbers]


def snapshots(line: BoardLine, folder: PictureFolder) -> list[Tile]:
    """How the first image came about: its snapshots, with the evaluations that they took."""
    trial = next((trial for trial in line.trials if trial.is_scored and trial.images), None)
    if trial is None:
        return []
    slot = min(score.slot for score in trial.images)
    files = folder.snapshots(trial, slot)
    # A record whose snapshots were not counted has pictures without evaluations: they are numbered.
    steps = trial.snapshots if len(trial.snapshots) == len(files) else range(1, len(files) + 1)
    image = _in_words(BatchSlot(trial.repetition, slot))
    return [
        Tile(file, f"candidate after {step} evaluations, {image}", f"{step:,}")
        for file, step in zip(files, steps, strict=True)
    ]
