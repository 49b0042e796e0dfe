"""The price of a defense as a row of a table; each training is run once and kept in the cache."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradinv.benchmark.datasets import Dataset
from gradinv.benchmark.defenses import create_defense, defense_keys
from gradinv.benchmark.experiment import AccountantMissingError, ImpossibleCellError, dp_guarantee, result_versions
from gradinv.benchmark.machine import cache_root
from gradinv.benchmark.utility.federated import Federation, federated_accuracy
from gradinv.benchmark.victims import LoadedVictim, VictimSpec, weights_hash
from gradinv.metrics.records import write_text
from gradinv.metrics.statistics import bounded_interval

DELTA = 1e-5


def utility_row(
    defense: str,
    dataset: Dataset,
    spec: VictimSpec,
    victim: LoadedVictim,
    federation: Federation,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """Accuracy after a federated training with this defense, mean and 95 % interval over the seeds, and its upload.

    A training is the same one for the same seed under every defense: split, batches and start. What is impossible has
    empty numbers and its reason in `notes`.
    """
    row: dict[str, Any] = {
        "dataset": dataset.name,
        "image_size": dataset.image_size,
        "victim": spec.key,
        "victim_state": victim.state,
        "victim_seed": spec.seed,
        "defense": defense,
    }
    try:
        trained = [_kept(defense, dataset, spec, victim, federation, seed) for seed in seeds]
    except ImpossibleCellError as error:
        return row | {"notes": str(error)}
    over_seeds = bounded_interval([accuracy for accuracy, _ in trained], 0, 1)
    return row | {
        "accuracy_mean": over_seeds.mean,
        "accuracy_low": over_seeds.low,
        "accuracy_high": over_seeds.high,
        "n_seeds": len(seeds),
        "upload_bytes": sum(upload for _, upload in trained) / len(trained),
        "training": str(federation),
        "guarantee": _guarantee(defense, dataset, federation),
        "notes": "",
    }


def _kept(
    defense: str, dataset: Dataset, spec: VictimSpec, victim: LoadedVictim, federation: Federation, seed: int
) -> tuple[float, float]:
    """Accuracy and upload of one training, from the cache where it was run before."""
    decides = {
        "defense": defense,
        # With the defaults, so that a default that changes is another training.
        "hyperparameters": repr(create_defense(defense)),
        "data": [dataset.split(role).content_hash for role in ("train", "evaluation")],
        "victim": [spec.key, weights_hash(victim.module)],
        "federation": federation.model_dump(),
        "seed": seed,
        "versions": result_versions(),
    }
    path = _place(decides)
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        return kept["accuracy"], kept["upload_bytes"]
    accuracy, upload = federated_accuracy(defense, dataset, victim, federation, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    # With all that decides, of which the name is the hash: a file of the cache says what it is of.
    write_text(path, json.dumps(decides | {"accuracy": accuracy, "upload_bytes": upload}, indent=1))
    return accuracy, upload


def _place(decides: dict[str, Any]) -> Path:
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    return cache_root() / "utility" / f"{digest}.json"


def _guarantee(defense: str, dataset: Dataset, federation: Federation) -> str:
    """What DP-SGD guarantees a client of mean size, with all that it rests on; empty for any other defense."""
    keys = [key for key in defense_keys(defense) if key.name == "dp_sgd"]
    sigma = create_defense(str(keys[0])).hyperparameters["sigma"] if keys else 0.0
    if not sigma:
        return ""
    images = len(dataset.split("train")) / federation.clients
    rate = min(1.0, federation.batch_size / images)
    try:
        return str(dp_guarantee(sigma=sigma, sampling_rate=rate, rounds=federation.rounds, delta=DELTA))
    except AccountantMissingError as error:
        return str(error)
