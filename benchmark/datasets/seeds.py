"""Seeds: each is the hash of exactly what its draw may depend on."""

import hashlib
import json
from typing import Any

import numpy as np


def seed_of(*parts: Any) -> int:
    """A 63-bit seed from anything that JSON can hold: the first 8 bytes of the SHA-256 of its text, top bit cleared.

    >>> seed_of("batch", "photos", 0) == seed_of("batch", "photos", 0) != seed_of("batch", "photos", 1)
    True
    """
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") & (2**63 - 1)


def random_state(*parts: Any) -> np.random.RandomState:
    """NumPy's legacy generator, seeded by `seed_of`: the one generator whose stream NumPy promises never to change."""
    seed = seed_of(*parts)
    # As two words of 32 bits, the largest that this generator takes.
    return np.random.RandomState([seed >> 32, seed & 0xFFFFFFFF])
