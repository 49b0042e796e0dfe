"""The letter of a row in the taxonomy of Carletti et al. (USENIX Security 2025): what the attacker had to have.

It belongs to an attack and what it used of what was granted, not to the attack: GradInversion is B with public
statistics and E with those of the private batch.
"""

from collections.abc import Collection, Mapping
from typing import Any

LETTERS: Mapping[str, str] = {
    "A": "the update and the network that it changes",
    "B": "and basics: granted labels, the network's own statistics or what its buffers tell",
    "C": "and how the client trains: learning rate, steps, perhaps the order",
    "D": "and public data of the client's domain",
    "E": "and statistics of the client's own data",
}
"""The passive ones; F to H, for attackers who change what they send out, occur on no board."""

_OF_THE_NETWORK = ("running", "inferred")


def letter_of(setting: Mapping[str, Any], uses: Collection[str]) -> str:
    """The highest letter that what was granted and used asks for; `uses` names what of the grant was used.

    >>> centre = {"bn_statistics": "exact", "update": "gradient", "simulation": "strong"}
    >>> letter_of(centre, ["gradient"]), letter_of(centre, ["gradient", "labels"]), letter_of(centre, ["bn_statistics"])
    ('A', 'B', 'E')
    """
    statistics = setting["bn_statistics"] if "bn_statistics" in uses else None
    simulates = setting["update"] != "gradient" and setting["simulation"] != "none" and "gradient" in uses
    needs = {
        "E": statistics is not None and statistics not in (*_OF_THE_NETWORK, "proxy"),
        "D": statistics == "proxy" or "auxiliary_images" in uses,
        "C": simulates,
        "B": statistics in _OF_THE_NETWORK or "labels" in uses,
    }
    return next((letter for letter, needed in needs.items() if needed), "A")
