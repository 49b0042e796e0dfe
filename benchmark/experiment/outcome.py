"""What a reconstruction is worth: matched once, scored with every metric, with the pictures that go beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from gradinv.attacks.leak import Reconstruction
from gradinv.benchmark.datasets.batches import Batch
from gradinv.benchmark.victims.normalisation import Normalisation, denormalise
from gradinv.metrics.images.label_accuracy import label_accuracy
from gradinv.metrics.images.matching import match, slot_accuracy
from gradinv.metrics.images.scoring import score_images
from gradinv.metrics.records.record import ImageScore
from torch import Tensor


@dataclass(frozen=True)
class Outcome:
    """The measured part of a record, as its fields, and the pictures (uint8) that go beside it."""

    fields: dict[str, Any]
    tensors: dict[str, Tensor]


def score(
    batch: Batch, reconstruction: Reconstruction, metrics: Sequence[str], normalisation: Normalisation
) -> Outcome:
    """Match once, score every image with every metric, keep the pictures in the originals' order."""
    images = denormalise(reconstruction.images.cpu(), *normalisation)
    assignment = match(images, batch.images)

    def ordered(candidate: Tensor) -> Tensor:
        return denormalise(candidate.cpu(), *normalisation)[assignment]

    final, snapshots = ordered(reconstruction.final), [ordered(snapshot) for snapshot in reconstruction.snapshots]
    agreed = _agreement(reconstruction, batch, assignment, normalisation)
    scored, notes = _scored(images[assignment], batch, assignment, metrics, agreed.details)
    has_labels = len(reconstruction.labels) == len(batch)
    fields = _said(reconstruction) | {
        "images": scored,
        "label_accuracy": label_accuracy(reconstruction.labels.cpu(), batch.labels) if has_labels else None,
        "slot_accuracy": slot_accuracy(assignment),
        "final_psnr": _mean(_psnr(final, batch.images)),
        "consensus_psnr": _mean(agreed.details["consensus_psnr"]) if agreed.details else None,
        "snapshot_psnr": [_mean(_psnr(snapshot, batch.images)) for snapshot in snapshots],
        "notes": [*notes, *reconstruction.notes],
    }
    kept = {"original": batch.images, "reconstruction": images[assignment], "final": final, **agreed.pictures}
    if snapshots:
        kept["snapshots"] = torch.stack(snapshots)
    return Outcome(fields, {name: (255 * value).round().to(torch.uint8) for name, value in kept.items()})


def _scored(
    images: Tensor, batch: Batch, assignment: Tensor, metrics: Sequence[str], details: dict[str, Tensor]
) -> tuple[list[ImageScore], tuple[str, ...]]:
    """Every image of the batch with its values, and the notes on metrics that could not be computed."""
    scores = score_images(images, batch.images, metrics)
    values = {name: value.tolist() for name, value in scores.values.items()}
    scored = [
        ImageScore(
            slot=slot,
            reconstruction=int(assignment[slot]),
            image=batch.hashes[slot],
            label=int(batch.labels[slot]),
            metrics={name: value[slot] for name, value in values.items()},
            details={name: float(value[slot]) for name, value in details.items()},
        )
        for slot in range(len(batch))
    ]
    return scored, scores.notes


def _said(reconstruction: Reconstruction) -> dict[str, Any]:
    """What the attack itself says, as fields of the record."""
    return {
        "state": "diverged" if reconstruction.diverged else "done",
        "scored": reconstruction.scored,
        "registrations": reconstruction.registrations,
        "label_method": reconstruction.label_method,
        "uses": list(reconstruction.uses),
        "objective_start": reconstruction.objective_start,
        "objective_end": reconstruction.objective_end,
        "evaluations": reconstruction.evaluations,
        "curve": list(reconstruction.curve),
        "snapshots": list(reconstruction.snapshot_at),
    }


@dataclass(frozen=True)
class _Agreement:
    """What several agents agree on, in the originals' order: numbers (B,) and pictures (B, C, H, W) in [0, 1]."""

    details: dict[str, Tensor]
    pictures: dict[str, Tensor]


def _agreement(
    reconstruction: Reconstruction, batch: Batch, assignment: Tensor, normalisation: Normalisation
) -> _Agreement:
    """The spread of the agents, in units of pixel value, and their consensus; nothing for an attack without agents."""
    if reconstruction.consensus is None or reconstruction.spread is None:
        return _Agreement({}, {})
    consensus = denormalise(reconstruction.consensus.cpu(), *normalisation)[assignment]
    std = torch.tensor(normalisation[1]).view(1, -1, 1, 1)
    spread = (reconstruction.spread.cpu() * std).clamp(0, 1)[assignment]
    details = {"agent_spread": spread.mean((1, 2, 3)), "consensus_psnr": _psnr(consensus, batch.images)}
    return _Agreement(details, {"consensus": consensus, "spread": spread})


def _psnr(images: Tensor, originals: Tensor) -> Tensor:
    """PSNR of each image in dB (B,), an exact image counted as 100."""
    return score_images(images, originals, ("psnr",)).values["psnr"].clamp(max=100)


def _mean(values: Tensor) -> float:
    return float(values.mean())
