"""Judging finished trials again: metrics that their records lack, and the ranks by a network that is chosen now."""

from collections.abc import Callable, Sequence
from functools import cache

import torch

from gradinv.benchmark.datasets import Batch, Dataset, create_dataset, draw_batch
from gradinv.benchmark.experiment import Identity, NetworkJudge, judge_of_network
from gradinv.benchmark.victims import VictimError, VictimSpec, load_victim, needs_training
from gradinv.metrics.image_size import ImageSize
from gradinv.metrics.images import METRICS, ScoredBatch, measured_metrics, score_batch
from gradinv.metrics.records import Additions, Record, RunDirectory, add, checksums, read_tensors

FROM_PICTURES = "measured from the stored 8-bit pictures"
JudgeOf = Callable[[str, ImageSize], "NetworkJudge | None"]
"""Data set and image size -> the network that judges there; None: the one of every trial, if any."""


def identify(run: RunDirectory, records: Sequence[Record], judge_of: JudgeOf) -> int:
    """Measure what the scored trials of a run directory lack of the metrics of every trial; returns of how many.

    The values are written beside the records; a trial that has none gets the reason. The network of `judge_of` judges
    beside the one that judged when the trial ran. VictimError where that network cannot be had for any data set.
    """
    judged = 0
    for record in (record for record in records if record.is_scored):
        additions = _measured(run, record, judge_of)
        add(run.additions(record.id), additions)
        judged += bool(additions.metrics)
    return judged


def chosen_judge(spec: VictimSpec | None, *, download: bool) -> JudgeOf:
    """The network of that specification on each data set; never trained here, for nobody would have chosen it."""

    @cache
    def judge(dataset_name: str, image_size: ImageSize) -> NetworkJudge | None:
        if spec is None:
            return None
        dataset = create_dataset(dataset_name, image_size)
        if needs_training(spec, dataset):
            raise VictimError(
                f"{spec.key} (seed {spec.seed}) for {dataset.name} {image_size} px is not in the cache; make it: "
                f"gradinv train {spec.model} --dataset {dataset.name} --image-size {image_size} --seed {spec.seed}"
            )
        loaded = load_victim(spec, dataset, download=download)
        # By its weights too: two networks of one architecture are two judges, and must not share a column.
        source = loaded.source or f"{spec.state} on {dataset.name}, weights {loaded.weights_hash}"
        return judge_of_network(f"{spec.model}-{loaded.weights_hash[:8]}", loaded, source)

    return judge


def _measured(run: RunDirectory, record: Record, judge_of: JudgeOf) -> Additions:
    """What one trial lacks, or why it cannot be had."""
    if not record.spec:
        return _without(record, None, "the record holds no specification")
    dataset = _dataset(record.spec["dataset"], record.spec["image_size"])
    tensors, batch = read_tensors(run.tensors(record.id)), _batch(record, dataset)
    chosen = judge_of(dataset.name, dataset.image_size)
    if "reconstruction" not in tensors:
        return _without(record, chosen, "the trial's pictures are not on disk")
    if _altered(run, record.id):
        return _without(record, chosen, f"the trial's pictures do not fit its {run.checksums(record.id).name}")
    if [image.image for image in record.images] != list(batch.hashes):
        return _without(record, chosen, "the data set here is not the one of the trial")
    identity = Identity.of(dataset, batch, record.spec["victim"]["model"], record.spec["weights_hash"])
    pictures = torch.from_numpy(tensors["reconstruction"]).float() / 255
    if pictures.shape != batch.images.shape:
        return _without(record, chosen, "the trial's pictures on disk are of another shape")
    scored = ScoredBatch(pictures, batch.images)
    if chosen is None:
        return _additions(record, [identity], scored)
    if chosen.weights_hash == record.spec["weights_hash"]:
        # The judges of every trial may still be wanting: only the chosen one is refused.
        additions = _additions(record, [identity], scored)
        reason = {chosen.metric: "it is the attacked victim itself"}
        return additions.model_copy(update={"notes": additions.notes | reason})
    return _additions(record, [identity, identity.by(chosen)], scored)


def _altered(run: RunDirectory, trial: str) -> bool:
    """Whether a trial's files are not as the run left them; trials from before checksums were kept are believed."""
    # Boards read records alone, whose sum is checked whenever one is read; here numbers are made of the pictures.
    kept = run.checksums(trial)
    return kept.is_file() and kept.read_text(encoding="utf-8") != checksums(run, trial)


def _additions(record: Record, identities: Sequence[Identity], scored: ScoredBatch) -> Additions:
    """The values of every metric that the record does not have yet."""
    known = set(record.images[0].metrics)
    with_pool = identities[0].with_pool(scored)
    values = score_batch(with_pool, _lacking(record)).values
    judges: dict[str, str] = {}
    for identity in identities:
        judges |= identity.judges
        values |= {name: ranks for name, ranks in identity.network_ranks(with_pool).items() if name not in known}
    return Additions(
        metrics={name: value.tolist() for name, value in values.items()},
        notes=dict.fromkeys(values, FROM_PICTURES),
        details=identities[0].details(),
        judges={name: words for name, words in judges.items() if name in values},
    )


def _without(record: Record, chosen: NetworkJudge | None, reason: str) -> Additions:
    """The reason for everything that was asked for and is not there."""
    network = [] if chosen is None or chosen.metric in record.images[0].metrics else [chosen.metric]
    return Additions(notes=dict.fromkeys([*_lacking(record), *network], reason))


def _lacking(record: Record) -> list[str]:
    """The metrics of every trial that the record has no values of; those of a batch do not come from pictures."""
    of_an_image = (name for name in measured_metrics(()) if METRICS.constants(name).get("per", "image") == "image")
    return [name for name in of_an_image if name not in record.images[0].metrics]


@cache
def _dataset(name: str, image_size: ImageSize) -> Dataset:
    return create_dataset(name, image_size)


def _batch(record: Record, dataset: Dataset) -> Batch:
    return draw_batch(
        dataset,
        repetition=record.repetition,
        batch_size=record.cell.batch_size,
        max_equal_labels=record.cell.max_equal_labels,
        equal_labels=record.cell.equal_labels,
        role="tuning" if record.cell.split == "tuning" else "evaluation",
    )
