"""No defense: the client sends its update as it is."""

from gradinv.benchmark.defenses.base import Defense, register_defense


@register_defense("none", paper=None)
class NoDefense(Defense):
    """The identity, in every hook."""

    neutral = "none"
    knowable = "that there is none"
    cost = "nothing"
