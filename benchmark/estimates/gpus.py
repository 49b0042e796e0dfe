"""GPUs by name, with what their makers state of them. Nothing here imports torch: the shell completes these names."""

from dataclasses import dataclass

from gradinv.metrics.registry import UnknownNameError, unknown

SHARE = 0.3
"""Of a card's peak that float32 convolutions reach; assumed."""

PER_CALL = 10e-6
"""Seconds from one operation to the next where Python and autograd, and not the card, set the pace; assumed."""


@dataclass(frozen=True)
class Card:
    """A GPU by its name and its float32 peak outside tensor cores, in operations a second, as its maker states it."""

    name: str
    peak: float

    def seconds(self, operations: float, calls: int) -> float:
        """Seconds of so many floating-point operations that come in so many calls, whichever is slower.

        >>> card_of("A100").seconds(operations=1e12, calls=1000)
        0.17094017094017094
        >>> card_of("A100").seconds(operations=1e6, calls=1000)
        0.01
        """
        return max(operations / (SHARE * self.peak), calls * PER_CALL)


CARDS = {
    card.name: card
    for card in (
        Card("T4", 8.1e12),
        Card("V100", 15.7e12),
        Card("A100", 19.5e12),
        Card("L4", 30.3e12),
        Card("RTX3090", 35.6e12),
        Card("H100", 66.9e12),
        Card("RTX4090", 82.6e12),
    )
}


def card_of(name: str) -> Card:
    """The card of a name; UnknownNameError with the names that there are."""
    if name not in CARDS:
        raise UnknownNameError(unknown("card", name, list(CARDS)))
    return CARDS[name]
