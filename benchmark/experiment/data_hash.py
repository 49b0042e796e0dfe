"""Which images a trial sees, as one hash: the private ones, and whatever else its result depends on."""

import hashlib
from functools import lru_cache

from gradinv.attacks.grants import needs_public_images
from gradinv.attacks.leak import ThreatModel
from gradinv.benchmark.datasets import Dataset, mean_image, public_images
from gradinv.benchmark.experiment.controls import WITHOUT_ATTACK


@lru_cache(maxsize=16)  # public images are many bytes to hash, and every row and trial asks
def data_hash(dataset: Dataset, control: str, threat_model: ThreatModel) -> str:
    """SHA-256 of the evaluation images, with the mean image or the public images where the trial sees them."""
    evaluation = dataset.split("evaluation").content_hash
    if control == "mean_image":
        return _with(evaluation, mean_image(dataset).numpy().tobytes())
    if control not in WITHOUT_ATTACK and needs_public_images(threat_model.bn_statistics):
        return _with(evaluation, public_images(dataset).numpy().tobytes())
    return evaluation


def _with(evaluation: str, more: bytes) -> str:
    return hashlib.sha256(evaluation.encode() + more).hexdigest()
