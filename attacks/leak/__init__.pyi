from .autoencoder import (
    Autoencoder as Autoencoder,
    decoded as decoded,
    encoded as encoded,
    fresh_autoencoder as fresh_autoencoder,
    reencoded as reencoded,
)
from .leak_file import LeakError as LeakError
from .observation import Observation as Observation
from .received import Leak as Leak, Statistics as Statistics
from .reconstruction import Reconstruction as Reconstruction
from .threat_model import LATER_GRANTS as LATER_GRANTS, ThreatModel as ThreatModel
