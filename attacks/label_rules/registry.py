"""The rules of label inference by key; importing this file imports neither torch nor any rule."""

from typing import TYPE_CHECKING

from gradinv.metrics.keys import checked_arguments, parse_key
from gradinv.metrics.registry import Registry, UnknownNameError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from gradinv.attacks.label_rules.rule import Rule

RULES: "Registry[type[Rule]]" = Registry(
    "rule of label inference",
    package="gradinv.attacks.label_rules",
    decorator="register_rule",
    group="gradinv.label_rules",
)


def register_rule(
    name: str, *, source: str, letter: str = "B", variants: tuple[str, ...] = ()
) -> "Callable[[type[Rule]], type[Rule]]":
    """Decorator that registers a rule under `name`.

    `source` is the paper and the equation. `letter` is what the attacker has beside the update in the taxonomy of the
    SoK of gradient inversion (Carletti et al., USENIX Security 2025): B nothing but the batch size, D auxiliary images.
    `variants` are the keys under which a board shows the rule; the name alone where there are none.
    """
    return RULES.register(name, source=source, letter=letter, variants=variants)


def rule_keys() -> list[str]:
    """The keys of all rules that can be had, variants one by one, in natural order of the names."""
    names = [name for name in RULES.names() if RULES.is_usable(name)]
    return [key for name in names for key in RULES.constants(name).get("variants") or (name,)]


def create_rule(text: str) -> "Rule":
    """The rule of a key such as `min` or `llg_star[inputs=ones]`.

    UnknownNameError with the nearest names for an unknown one, InvalidEntryError for a wrong parameter.
    """
    key = parse_key(text)
    entry = RULES.get(key.name)
    if key.preset:
        raise UnknownNameError(unknown("rule of label inference", text, RULES.names()))
    return entry.target(**checked_arguments(f"rule {key.name!r}", entry.target, key.parameters))
