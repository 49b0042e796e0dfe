"""Which images a trial sees, as one hash: the private ones, and whatever else its result depends on."""

import hashlib
from functools import lru_cache

from gradinv.attacks.grants import needs_public_images
from gradinv.attacks.leak import ThreatModel
from gradinv.benchmark.auxiliary import trained_autoencoder
from gradinv.benchmark.datasets import Dataset, Role, create_dataset, mean_image, public_images
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment.controls import WITHOUT_ATTACK, sees_mean_image


def data_hash(
    dataset: Dataset,
    attack: str,
    control: str,
    threat_model: ThreatModel,
    split: Role = "evaluation",
    defense: str = "none",
) -> str:
    """SHA-256 of the images of the split, with the mean image or the public images where the trial sees them.

    Of public images that are granted as what they have taught, the hash of that. A defense may see public images too.
    DataError where it cannot have them.
    """
    is_granted = control not in WITHOUT_ATTACK and threat_model.auxiliary_images != "none"
    taught = trained_autoencoder(dataset) if is_granted else None
    # Outside of what is remembered: an autoencoder may be trained, or trained anew, meanwhile.
    mixed_in = () if control in WITHOUT_ATTACK else create_defense(defense).public_datasets
    return _data_hash(dataset, attack, control, threat_model, split, taught.sha256 if taught else "", mixed_in)


@lru_cache(maxsize=16)  # public images are many bytes to hash, and every row and trial asks
def _data_hash(
    dataset: Dataset,
    attack: str,
    control: str,
    threat_model: ThreatModel,
    split: Role,
    autoencoder: str,
    mixed_in: tuple[str, ...],
) -> str:
    private = dataset.split(split).content_hash
    more = mean_image(dataset).numpy().tobytes() if sees_mean_image(attack, control) else b""
    if control not in WITHOUT_ATTACK and needs_public_images(threat_model.bn_statistics):
        more += public_images(dataset).numpy().tobytes()
    more += autoencoder.encode()
    for name in mixed_in:
        more += public_images(create_dataset(name, dataset.image_size)).numpy().tobytes()
    return hashlib.sha256(private.encode() + more).hexdigest() if more else private
