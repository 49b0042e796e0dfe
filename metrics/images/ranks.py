"""What a normalised rank of an original means, and which metric holds whose: known without importing torch."""

from collections.abc import Iterable

IDENTITY_PREFIX = "identity_"
"""How the metrics begin that rank the original in a pool; the rest is the name of the judge."""


ANYWHERE = "rank_anywhere"
"""The metric that ranks the original wherever it lies in the picture: measured on request."""


def identity_name(judge: str) -> str:
    """The metric of a network judge.

    >>> identity_name("tf_efficientnet_lite2")
    'identity_tf_efficientnet_lite2'
    """
    return f"{IDENTITY_PREFIX}{judge}"


def judge_of(metric: str) -> str:
    """The judge whose ranks a metric holds; empty where it is no identity metric.

    >>> judge_of("identity_lowpass"), judge_of("psnr")
    ('lowpass', '')
    """
    return metric.removeprefix(IDENTITY_PREFIX) if metric.startswith(IDENTITY_PREFIX) else ""


def is_identified(ranks: Iterable[float]) -> bool:
    """Whether an original is first in the pool for every judge, by their normalised ranks; a tie is no first place.

    >>> is_identified([0.0, 0.0]), is_identified([0.0, 0.001])
    (True, False)
    """
    return all(rank == 0 for rank in ranks)


def rank_of(normalised: float, pool_size: float) -> float:
    """The rank, from 1, that a normalised rank in a pool of that size (the original included) stands for.

    >>> rank_of(0.0, 1000), rank_of(0.5, 1000), rank_of(9.009e-3, 1000)
    (1.0, 500.5, 10.0)
    """
    # Ranks are halves at the finest, for a tie counts one; single precision would make the tenth place 10.0000001.
    return round(2 * (1 + normalised * (pool_size - 1))) / 2
