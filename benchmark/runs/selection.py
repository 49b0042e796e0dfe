"""The part of a suite that a command asks for, and which of its filters leaves nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from gradinv.benchmark.runs.block import Block, SuiteError, canonical_attack
from gradinv.benchmark.runs.suite import Suite
from gradinv.metrics.keys import key_matches
from gradinv.metrics.plain_text import cut


def select(
    suite: Suite,
    *,
    attacks: Sequence[str] = (),
    victims: str | None = None,
    defenses: str | None = None,
    batch_sizes: Sequence[int] = (),
    limit: int | None = None,
) -> Suite:
    """The part of a suite that is asked for.

    An attack with a wildcard keeps the suite's attacks that match, an attack without one stands in for the suite's own.
    `victims` and `defenses` are wildcards over keys. `limit` is the largest number of batches a cell. SuiteError where
    nothing is left.
    """
    blocks, left = [], []
    for block in suite.blocks:
        sizes = tuple(b for b in block.batch_sizes if not batch_sizes or b in batch_sizes)
        chosen: dict[str, Any] = {
            "attacks": _chosen_attacks(block, attacks),
            "victims": tuple(victim for victim in block.victims if key_matches(victim.key, victims or "*")),
            "defenses": tuple(defense for defense in block.defenses if key_matches(defense, defenses or "*")),
            "batch_sizes": sizes,
            # By size, because the limit may lie below what one size has and above what another has.
            "batches": {b: min(limit or block.batches_of(b), block.batches_of(b)) for b in sizes},
        }
        left.append(chosen)
        if all(chosen.values()):
            blocks.append(block.model_copy(update=chosen))
    if not blocks:
        asked = {"attacks": attacks, "victims": victims, "defenses": defenses, "batch_sizes": batch_sizes}
        reason = _why_nothing(suite, left, {name: value for name, value in asked.items() if value})
        raise SuiteError(f"nothing of suite {suite.name} is left: {reason}")
    return suite.model_copy(update={"blocks": tuple(blocks)})


def _why_nothing(suite: Suite, left: Sequence[Mapping[str, Any]], asked: Mapping[str, Any]) -> str:
    """Which filter nothing passes, with what it could have named; or that each passes something of another grid."""
    options = {name: f"--{name.removesuffix('s').replace('_', '-')}" for name in asked}
    texts = {name: f"{options[name]} {_in_words(value)}" for name, value in asked.items()}
    for name in asked:
        if not any(of_block[name] for of_block in left):
            held = [getattr(entry, "key", entry) for block in suite.blocks for entry in getattr(block, name)]
            return f"{texts[name]} fits none of {', '.join(map(str, dict.fromkeys(held)))}"
    return f"no grid has something for {' and '.join(texts.values())} at once"


def _in_words(value: Any) -> str:
    return cut(value if isinstance(value, str) else ", ".join(map(str, value)))


def _chosen_attacks(block: Block, wanted: Sequence[str]) -> tuple[str, ...]:
    if not wanted:
        return block.attacks
    chosen: list[str] = []
    for text in wanted:
        is_pattern = any(mark in text.split("[")[0] for mark in "*?")
        try:
            keys = [a for a in block.attacks if key_matches(a, text)] if is_pattern else [str(canonical_attack(text))]
        except ValueError as error:
            raise SuiteError(str(error)) from error
        chosen += [key for key in keys if key not in chosen]
    return tuple(chosen)
