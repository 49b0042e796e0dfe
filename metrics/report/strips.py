"""The pictures of a page: originals above reconstructions and their controls, and how the first one came about."""

from collections.abc import Sequence
from typing import NamedTuple

from gradinv.metrics.boards.lines import Line
from gradinv.metrics.records.pictures import PictureFolder
from gradinv.metrics.records.record import ImageScore

IMAGES = 8
SPREAD_GAIN = 4


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


def strips(shown: Sequence[Line], folder: PictureFolder) -> tuple[list[str], list[Strip]]:
    """The first images in batch order as (their places in words, strips): the originals, then each line's pictures."""
    places = sorted({(t.repetition, image.slot) for t in shown[0].trials for image in t.images})[:IMAGES]
    if not places:
        return [], []
    words = [f"batch {batch}, slot {slot}" for batch, slot in places]
    originals = [_original(shown, batch, slot, folder) for batch, slot in places]
    made = [Strip("original", False, originals)]
    for line in shown:
        names = ["reconstruction"] + ["consensus", "spread"] * _has_agents(line)
        for name in names:
            tiles = [_tile(line, name, batch, slot, folder) for batch, slot in places]
            made.append(Strip(_strip_name(line, name), line.cell.is_control, tiles))
    return words, made


def _has_agents(line: Line) -> bool:
    return any("agent_spread" in image.details for trial in line.trials for image in trial.images)


def _strip_name(line: Line, name: str) -> str:
    if name == "reconstruction":
        return line.cell.attack if line.cell.is_control else line.cell.key
    return {"consensus": "consensus of its agents", "spread": f"spread of its agents, times {SPREAD_GAIN}"}[name]


def _original(shown: Sequence[Line], batch: int, slot: int, folder: PictureFolder) -> Tile:
    trials = [trial for line in shown for trial in line.trials if trial.repetition == batch]
    file = next((file for trial in trials if (file := folder.picture(trial, "original", slot))), "")
    return Tile(file, f"original, batch {batch}, slot {slot}", "" if file else "not on disk")


def _tile(line: Line, name: str, batch: int, slot: int, folder: PictureFolder) -> Tile:
    trial = next((trial for trial in line.trials if trial.repetition == batch), None)
    if trial is None or not trial.is_scored:
        return Tile("", "", "not run" if trial is None else trial.state)
    score = next((image for image in trial.images if image.slot == slot), None)
    file = folder.picture(trial, name, slot, SPREAD_GAIN if name == "spread" else 1)
    said = _said(name, score)
    alt = f"{name} by {line.cell.key}, batch {batch}, slot {slot}"
    missing = [] if file else ["not on disk"]
    return Tile(file, alt, ", ".join([*said, *missing, *(["diverged"] if trial.state == "diverged" else [])]))


def _said(name: str, score: ImageScore | None) -> list[str]:
    """The values of one picture: PSNR and SSIM, or what the agents say of it."""
    if score is None:
        return []
    shown = {
        "reconstruction": (score.metrics, {"psnr": "{:.1f} dB", "ssim": "{:.2f}"}),
        "consensus": (score.details, {"consensus_psnr": "{:.1f} dB"}),
        "spread": (score.details, {"agent_spread": "{:.3f}"}),
    }
    numbers, formats = shown[name]
    return [text.format(numbers[metric]) for metric, text in formats.items() if metric in numbers]


def snapshots(line: Line, folder: PictureFolder) -> list[Tile]:
    """How the first image came about: its snapshots, with the evaluations that they took."""
    for trial in line.trials:
        if trial.is_scored and trial.images:
            slot = min(image.slot for image in trial.images)
            files = folder.snapshots(trial, slot)
            steps = trial.snapshots if len(trial.snapshots) == len(files) else range(1, len(files) + 1)
            return [
                Tile(file, f"candidate after {step} evaluations, batch {trial.repetition}, slot {slot}", f"{step:,}")
                for file, step in zip(files, steps, strict=True)
            ]
    return []
