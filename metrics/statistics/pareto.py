"""The Pareto front: what nothing else equals in everything and beats in something."""

from collections.abc import Mapping, Sequence


def undominated(points: Mapping[str, Sequence[float]]) -> list[str]:
    """The names of the points that no other beats in one of their numbers, of which more is better, and equals in all.

    Every point has as many numbers. NaN is no number to compare by: such a point beats none and is beaten by none.

    >>> undominated({"a": (0.9, -30.0), "b": (0.7, -10.0), "c": (0.6, -12.0), "d": (0.1, float("nan"))})
    ['a', 'b', 'd']
    """
    return [name for name, point in points.items() if not any(_dominates(other, point) for other in points.values())]


def _dominates(other: Sequence[float], point: Sequence[float]) -> bool:
    pairs = list(zip(other, point, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
