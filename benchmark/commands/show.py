"""What `gradinv show` prints: an entry with its parameters, defaults and paper."""

import inspect
from typing import Any

from gradinv.attacks.gradient_matching import DISTANCES, INITS
from gradinv.attacks.grants import AUXILIARY, BN_STATISTICS, LABELS
from gradinv.attacks.label_rules import RULES, create_rule
from gradinv.attacks.registry import ATTACKS, PRESETS, hyperparameters
from gradinv.attacks.update import SIMULATION
from gradinv.benchmark.commands.show_inputs import dataset_facts, model_facts
from gradinv.benchmark.defenses import DEFENSES, Defense, create_defense, defense_keys
from gradinv.benchmark.experiment import CONTROLS, MEANING
from gradinv.benchmark.runs import suite_path
from gradinv.metrics.boards import schema_page
from gradinv.metrics.images import METRICS
from gradinv.metrics.keys import Key, parse_key
from gradinv.metrics.registry import UnknownNameError, unknown


def describe(kind: str, name: str) -> str:
    """Text about the entry; raises UnknownNameError or InvalidEntryError."""
    if kind == "attack":
        return _attack(name)
    if kind in ("distance", "init"):
        return _with_paper((DISTANCES if kind == "distance" else INITS).get(name).target, {}, None)
    if kind == "defense":
        return _defenses(name)
    if kind == "metric":
        facts = METRICS.get(name)
        return "\n".join([_doc(facts.target), *(f"{field}: {value}" for field, value in facts.metadata.items())])
    if kind == "rule":
        return _rule(name)
    if kind in ("model", "dataset"):
        return (model_facts if kind == "model" else dataset_facts)(name)
    if kind == "schema":
        return schema_page(granted_levels()).rstrip()
    if kind == "suite":
        return suite_path(name).read_text(encoding="utf-8").rstrip()
    if name not in CONTROLS:
        raise UnknownNameError(unknown("control", name, list(CONTROLS)))
    return f"{name}: {MEANING[name]}"


def _attack(name: str) -> str:
    key = parse_key(name)
    chosen = hyperparameters(key)
    entry = ATTACKS.get(key.name)
    presets = PRESETS.names(f"{key.name}.*")
    return _with_paper(entry.target, chosen, entry.metadata["paper"]) + f"\n\npresets: {', '.join(presets) or 'none'}"


def _defenses(name: str) -> str:
    """The parts, and of several what an attacker answers to them together: one may spoil the answer to another."""
    keys = defense_keys(name)
    parts = list(map(_defense, keys))
    return "\n\n".join(parts if len(parts) == 1 else [*parts, _together(create_defense(name))])


def _together(defense: Defense) -> str:
    left = f"\nwithout an answer: {defense.unanswered}" if defense.known() and defense.unanswered else ""
    return f"adaptive attack on all: {_answer(defense)}{left}"


def _answer(defense: Defense) -> str:
    return defense.known() or f"none: {defense.unanswered or 'none is known'}"


def _defense(key: Key) -> str:
    """An entry with what it declares; of a combination, one part."""
    entry = DEFENSES.get(key.name)
    target = entry.target
    # An object, not the class: whether there is an adaptive answer may depend on the parameters.
    chosen = target(**key.parameters)
    facts = {
        "acts on": ", ".join(target.acts) or "nothing",
        "randomises": "yes" if target.randomises else "no",
        "an attacker can know": target.knowable,
        "adaptive attack": _answer(chosen),
        "costs": target.cost,
        "standard settings": ", ".join(target.grid),
        "changes no bit at": target.neutral,
        "is never neutral": target.never_neutral,
    }
    declared = "\n".join(f"{name}: {text}" for name, text in facts.items() if text)
    return f"{_with_paper(target, dict(key.parameters), entry.metadata['paper'])}\n\n{declared}"


def _rule(name: str) -> str:
    key, rule = parse_key(name), create_rule(name)
    facts = RULES.get(key.name).metadata
    lines = [_with_paper(type(rule), rule.hyperparameters, None), "", f"source: {facts['source']}"]
    assumed = [f"  {part.meaning}{'' if part.required else ' (else a note)'}" for part in rule.assumptions]
    return "\n".join([*lines, f"letter: {facts['letter']}", "assumes:", *assumed])


def _with_paper(target: Any, chosen: dict[str, Any], paper: Any) -> str:
    # A class has its hyperparameters in its constructor, a metric that is a function in its own signature.
    callee = target.__init__ if inspect.isclass(target) else target
    parameters = [
        f"  {name} = {chosen.get(name, parameter.default)}"
        for name, parameter in inspect.signature(callee).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    lines = [_doc(target), "", "parameters:" if parameters else "no parameters", *parameters]
    return "\n".join([*lines, "", paper.bibtex] if paper else lines)


def _doc(target: Any) -> str:
    return inspect.getdoc(target) or ""


def known_answer(defense: str) -> str:
    """What an attacker who knows the defense applies; empty where nothing is known, as of a plug-in not loaded."""
    try:
        return create_defense(defense).known()
    except UnknownNameError:
        return ""


def granted_levels() -> dict[str, dict[str, str]]:
    """Column -> level -> meaning of everything that a threat model may grant, for pages and for checks of boards."""
    return {
        "bn_statistics": {name: level.meaning for name, level in BN_STATISTICS.items()},
        "labels": {name: level.meaning for name, level in LABELS.items()},
        "simulation": dict(SIMULATION),
        "auxiliary_images": dict(AUXILIARY),
    }
