"""What a reconstruction is worth: matched once, scored with every metric, with the pictures that go beside it."""

from collections.abc import Mapping, Sequence

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from gradinv.attacks.leak import Reconstruction
from gradinv.benchmark.datasets import Batch, Dataset, mean_image
from gradinv.benchmark.experiment.identity import Identity
from gradinv.benchmark.experiment.isolation import share_not_finite
from gradinv.benchmark.victims import Normalisation, denormalise
from gradinv.metrics.images import (
    METRICS,
    ScoredBatch,
    match,
    measured_metrics,
    score_batch,
    score_images,
    slot_accuracy,
)
from gradinv.metrics.records import ImageScore, Measured


class Outcome(Measured):
    """What was measured, and the pictures beside it, which are no part of the record.

    `tensors` are uint8, (B, C, H, W), in the originals' order, `snapshots` (S, B, C, H, W). A trial that was not scored
    has a state, a reason and perhaps notes. `floats` holds the images as they were scored, float32 in [0, 1].
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    tensors: dict[str, Tensor] = Field(default_factory=dict, repr=False)
    floats: dict[str, Tensor] = Field(default_factory=dict, repr=False)


def score(
    batch: Batch,
    reconstruction: Reconstruction,
    metrics: Sequence[str],
    normalisation: Normalisation,
    identity: Identity,
) -> Outcome:
    """Match once, score every image with every metric, keep the pictures in the originals' order.

    `identity` ranks each original in the pool of its data set.
    """
    pictures = _in_pixels(reconstruction, normalisation)
    _fill(pictures, reconstruction.filled, identity.dataset)
    assignment = match(pictures["reconstruction"], batch.images)
    # Indexed, since index_select would change the memory layout, and with it the last digit of a convolution's result.
    pictures = {name: value[..., assignment, :, :, :] for name, value in pictures.items()}
    claims_labels = len(reconstruction.labels) == len(batch)  # a control without an attack returns none
    labels = reconstruction.labels.cpu() if claims_labels else None
    # Floats, never the 8-bit pictures that are stored: rounding would bound what an exact image can reach.
    scored = identity.with_pool(ScoredBatch(pictures["reconstruction"], batch.images, labels, batch.labels))
    scores = score_batch(scored, measured_metrics(metrics))
    values = scores.values | identity.network_ranks(scored)
    details = _details(pictures, batch.images) | _proved(pictures["reconstruction"], batch, reconstruction, assignment)
    broken = share_not_finite(reconstruction)
    notes = [f"{broken:.1%} of the returned values are not finite, and were scored as mid-grey"] * (broken > 0)
    partial = reconstruction.filled is not None and not bool(reconstruction.filled.all())
    notes += ["some slots were left open, and were scored as the mean image"] * partial
    notes += [f"images: {change}" for change in identity.dataset.split(batch.role).changes]
    return Outcome(
        state="diverged" if reconstruction.diverged or broken else "done",
        images=_images(batch, assignment, values, details | identity.details()),
        metrics=scores.batch_values,
        slot_accuracy=slot_accuracy(assignment),
        label_method=reconstruction.label_method,
        uses=list(reconstruction.uses),
        objective_start=reconstruction.objective_start,
        objective_end=reconstruction.objective_end,
        evaluations=reconstruction.evaluations,
        stopped=reconstruction.stopped,
        curve=list(reconstruction.curve),
        terms={name: list(values) for name, values in reconstruction.terms.items()},
        snapshots=list(reconstruction.snapshot_at),
        snapshot_identity=identity.lowpass(pictures["snapshots"], scored) if "snapshots" in pictures else [],
        judges=identity.judges,
        pool=identity.pool.name,
        snapshot_psnr=[_mean(_psnr(snapshot, batch.images)) for snapshot in pictures.get("snapshots", ())],
        final_psnr=_mean(_psnr(pictures["final"], batch.images)),
        alignments=dict(reconstruction.alignments),
        notes=[*scores.notes, *reconstruction.notes, *notes],
        tensors={name: _eight_bits(value) for name, value in {"original": batch.images, **pictures}.items()},
        floats={name: pictures[name] for name in ("reconstruction", "final")},
    )


def _in_pixels(reconstruction: Reconstruction, normalisation: Normalisation) -> dict[str, Tensor]:
    """Everything that the attack returned as pixel values in [0, 1] on the CPU, by name; (B, C, H, W) each.

    `snapshots`, (S, B, C, H, W), `consensus` and `spread` are there only where the attack has them.
    """
    returned = {"reconstruction": reconstruction.images, "final": reconstruction.final}
    if reconstruction.consensus is not None:
        returned["consensus"] = reconstruction.consensus
    if reconstruction.snapshots:
        returned["snapshots"] = torch.stack(reconstruction.snapshots)
    # Scored in single precision, as originals are, whatever the client computes in.
    pictures = {name: denormalise(value.cpu(), *normalisation).float() for name, value in returned.items()}
    if reconstruction.spread is not None:
        std = torch.tensor(normalisation[1]).view(1, -1, 1, 1)
        pictures["spread"] = (reconstruction.spread.cpu() * std).clamp(0, 1)  # a deviation has no mean to add
    return pictures


def _fill(pictures: dict[str, Tensor], filled: Tensor | None, dataset: Dataset) -> None:
    """Put the mean image where the attack left a slot open: what anybody could have guessed there."""
    if filled is None or bool(filled.all()):
        return
    for name in ("reconstruction", "final"):
        pictures[name] = torch.where(filled.cpu().view(-1, 1, 1, 1), pictures[name], mean_image(dataset))


def _proved(images: Tensor, batch: Batch, reconstruction: Reconstruction, assignment: Tensor) -> dict[str, list[float]]:
    """Of each image in the originals' order, whether it is the original in 8 bits, and whether the attack proved it."""
    equal = (_eight_bits(images) == _eight_bits(batch.images)).flatten(1).all(1)
    proved = {"recovered": equal.double().tolist()}
    if reconstruction.certified is not None:
        proved["certified"] = reconstruction.certified.cpu()[assignment].double().tolist()
    return proved


def _details(pictures: Mapping[str, Tensor], originals: Tensor) -> dict[str, list[float]]:
    """What several agents agree on, for each image: their spread and the PSNR of their consensus; else nothing."""
    if "consensus" not in pictures or "spread" not in pictures:
        return {}
    return {
        "agent_spread": pictures["spread"].mean((1, 2, 3)).tolist(),
        "consensus_psnr": _psnr(pictures["consensus"], originals).tolist(),
    }


def _images(
    batch: Batch, assignment: Tensor, values: Mapping[str, Tensor], details: Mapping[str, Sequence[float]]
) -> list[ImageScore]:
    """Every image of the batch with its values."""
    columns = {name: column.tolist() for name, column in values.items()}
    return [
        ImageScore(
            slot=slot,
            reconstruction=int(assignment[slot]),
            image=batch.hashes[slot],
            label=int(batch.labels[slot]),
            metrics={name: column[slot] for name, column in columns.items()},
            details={name: column[slot] for name, column in details.items()},
        )
        for slot in range(len(batch))
    ]


def _psnr(images: Tensor, originals: Tensor) -> Tensor:
    """PSNR of each image in dB (B,), as it counts in means: an exact image has the cap."""
    return score_images(images, originals, ("psnr",)).values["psnr"].clamp(max=METRICS.constants("psnr")["cap"])


def _mean(values: Tensor) -> float:
    return float(values.mean())


def _eight_bits(pixels: Tensor) -> Tensor:
    return (255 * pixels).round().to(torch.uint8)
