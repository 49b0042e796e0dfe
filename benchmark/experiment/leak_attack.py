"""Attacking a leak file: the reconstruction as pixels, what can be said of it, and its scores where originals are."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gradinv.attacks.attack import Attack, Conditions
from gradinv.attacks.label_rules import LabelInferenceError
from gradinv.attacks.leak import Reconstruction
from gradinv.benchmark.datasets import DataError, is_image_name, read_image
from gradinv.benchmark.experiment.isolation import (
    ImpossibleResultError,
    check_result,
    counted_evaluations,
    restored_switches,
    share_not_finite,
)
from gradinv.benchmark.experiment.leak_file import ReceivedLeak
from gradinv.benchmark.victims import denormalise
from gradinv.metrics.image_size import as_image_size
from gradinv.metrics.images import METRICS, ScoredBatch, match, score_batch
from gradinv.metrics.records import write_tensors, write_text
from gradinv.metrics.registry import RequestError, natural_key

SCORES = ("psnr", "ssim", "structure", "lpips_alex")
RESULT = "attack.json"


class LeakAttackError(RequestError):
    """An attack that is impossible on a leak; its text says why in one line."""


@dataclass(frozen=True)
class Originals:
    """Images that the client is known to have had: names, and pixels (B, 3, H, W) in [0, 1]."""

    names: tuple[str, ...]
    images: Tensor


def read_originals(folder: Path, shape: tuple[int, int, int, int]) -> Originals:
    """The images of a folder, in the natural order of their names; DataError unless they are the batch's `shape`.

    They are taken as they are, never scaled or cut: the pixels that the client's network saw.
    """
    if not folder.is_dir():
        raise DataError(f"--originals {folder} is no folder")
    paths = sorted((path for path in folder.iterdir() if is_image_name(path.name)), key=lambda p: natural_key(p.name))
    if len(paths) != shape[0]:
        raise DataError(f"--originals {folder} holds {len(paths)} images, and the leak is of {shape[0]}")
    images = [read_image(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.size != (shape[3], shape[2]):
            raise DataError(f"{path} has {image.width} x {image.height} pixels, and the leak {shape[3]} x {shape[2]}")
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    if shape[1] == 1:
        coloured = [path for path, image in zip(paths, pixels, strict=True) if not bool((image == image[:1]).all())]
        if coloured:
            raise DataError(f"{coloured[0]} has colours, and the leak's images are grey")
    return Originals(tuple(path.name for path in paths), pixels[:, : shape[1]].float() / 255)


def attack_leak(
    attack: Attack, received: ReceivedLeak, *, trained: bool, seed: int, budget: int | None
) -> Reconstruction:
    """What the attack makes of the leak; LeakAttackError where it is impossible on such a leak."""
    leak, victim = received.leak, received.victim
    try:
        # For its error alone, before anything is spent.
        attack.evaluations(budget)
    except ValueError as error:  # of an attack without a budget of its own
        raise LeakAttackError(f"{error}; give --budget") from error
    conditions = Conditions(
        threat_model=leak.threat_model,
        batch_size=leak.batch_size,
        num_classes=leak.num_classes,
        bn_layers=len(victim.bn_layers),
        trained=trained,
        image_size=as_image_size(leak.image_shape[1:]),
        budget=budget,
        network=victim.module,
        channels=leak.image_shape[0],
        autoencoder=leak.autoencoder is not None,
    )
    reason = attack.reason_impossible(conditions)
    if reason is not None:
        raise LeakAttackError(f"the attack is impossible on this leak: {reason}")
    # The check of the leak has evaluated too; what counts is what the attack spends.
    victim.evaluations.restart()
    try:
        with restored_switches():
            reconstruction = attack.reconstruct(leak, victim, seed=seed, budget=budget)
    except LabelInferenceError as error:
        raise LeakAttackError(f"the attack is impossible on this leak: {error}; grant labels") from error
    try:
        check_result(reconstruction, leak.shape, budget)
        counted_evaluations(victim, [reconstruction], budget)
    except ImpossibleResultError as error:
        raise LeakAttackError(str(error)) from error
    return reconstruction


def pixels_of(reconstruction: Reconstruction, received: ReceivedLeak) -> dict[str, Tensor]:
    """The images returned and the last iterate, as pixels in [0, 1], (B, C, H, W) on the CPU, in the attack's order."""
    returned = {"reconstruction": reconstruction.images, "final": reconstruction.final}
    leak = received.leak
    return {name: denormalise(value.detach().cpu(), leak.mean, leak.std) for name, value in returned.items()}


def scores_of(reconstructions: Tensor, originals: Originals) -> dict[str, Any]:
    """Of each original the slot matched to it and its values, their means, and a line for what was not measured."""
    assignment = match(reconstructions, originals.images)
    scores = score_batch(ScoredBatch(reconstructions[assignment], originals.images), SCORES)
    # As they count in means everywhere: an exact image has the cap, not infinity.
    caps = {name: METRICS.constants(name).get("cap", math.inf) for name in scores.values}
    values = {name: value.clamp(max=caps[name]) for name, value in scores.values.items()}
    return {
        "images": [
            {"original": name, "slot": slot, **{metric: float(column[index]) for metric, column in values.items()}}
            for index, (name, slot) in enumerate(zip(originals.names, assignment.tolist(), strict=True))
        ],
        "mean": {metric: float(column.mean()) for metric, column in values.items()},
        "notes": list(scores.notes),
    }


def attack_facts(reconstruction: Reconstruction) -> dict[str, Any]:
    """What the attack says of its result: objective, curve, terms, labels, what it used and spent."""
    broken = share_not_finite(reconstruction)
    notes = [f"{broken:.1%} of the returned values are not finite, and are shown as mid-grey"] * (broken > 0)
    return {
        "objective_start": reconstruction.objective_start,
        "objective_end": reconstruction.objective_end,
        "curve": [list(point) for point in reconstruction.curve],
        "terms": {name: list(values) for name, values in reconstruction.terms.items()},
        "evaluations": reconstruction.evaluations,
        "stopped": reconstruction.stopped,
        "diverged": reconstruction.diverged or broken > 0,
        "labels": reconstruction.labels.tolist(),
        "label_method": reconstruction.label_method,
        "uses": list(reconstruction.uses),
        "engine": reconstruction.engine,
        "notes": [*reconstruction.notes, *notes],
    }


def write_result(folder: Path, pixels: dict[str, Tensor], facts: dict[str, Any]) -> list[Path]:
    """Write PNG files by slot, the same as floats, and the facts as JSON, last; returns the paths."""
    floats = write_tensors(folder / "reconstructions.safetensors", pixels)
    pictures = [_write_png(folder / f"slot-{slot}.png", image) for slot, image in enumerate(pixels["reconstruction"])]
    text = json.dumps(_finite(facts), indent=1, allow_nan=False)
    return [*pictures, floats, write_text(folder / RESULT, text + "\n")]


def _write_png(path: Path, image: Tensor) -> Path:
    pixels = (255 * image).round().to(torch.uint8).permute(1, 2, 0)
    # Pillow knows grey pictures by two axes.
    Image.fromarray((pixels[..., 0] if pixels.shape[2] == 1 else pixels).numpy()).save(path, "PNG")
    return path


def _finite(value: Any) -> Any:
    """The value with null for numbers that JSON has no word for."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
