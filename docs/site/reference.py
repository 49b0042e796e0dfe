"""The pages of the reference, written from the registries at every build, so that no entry can be missing or old."""

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

import gradinv
from gradinv.attacks.gradient_matching import DISTANCES, INITS
from gradinv.attacks.label_rules import RULES
from gradinv.attacks.registry import ATTACKS, PRESETS, Paper
from gradinv.benchmark.datasets import DATASETS
from gradinv.benchmark.defenses import DEFENSES
from gradinv.benchmark.experiment import MEANING
from gradinv.benchmark.runs import suite_names, suite_path
from gradinv.metrics.images import METRICS, facts_of

EXAMPLE = re.compile(r"^>>>(?:.|\n(?!\n))*", re.MULTILINE)
"""From a prompt to the next empty line or the end."""
BOUNDARIES = (
    "gradinv.attacks.attack.Attack",
    "gradinv.attacks.leak.Leak",
    "gradinv.attacks.leak.Reconstruction",
    "gradinv.attacks.victim.Victim",
    "gradinv.attacks.gradient_matching.GradientMatching",
    "gradinv.attacks.gradient_matching.Distance",
    "gradinv.attacks.update.Update",
    "gradinv.attacks.label_rules.Rule",
    "gradinv.benchmark.defenses.Defense",
    "gradinv.benchmark.datasets.Dataset",
)
"""What an entry of one's own subclasses, fills in or is handed."""


def attacks() -> str:
    """Every attack with what it needs, its parameters, presets and paper."""
    return _page("Every attack", ATTACKS.names(), _attack)


def defenses() -> str:
    """Every defense with what it declares, its parameters and paper."""
    return _page("Every defense", DEFENSES.names(), _defense)


def metrics() -> str:
    """Every metric with its unit, range and direction."""
    return _page("Every metric", METRICS.names(), _metric)


def distances() -> str:
    """Every distance that an attack takes by key, with its parameters."""
    return _page("Every distance", DISTANCES.names(), lambda name: _part(DISTANCES.get(name).target))


def starts() -> str:
    """Every start of candidates that an attack takes by key, with its parameters."""
    return _page("Every start", INITS.names(), lambda name: _part(INITS.get(name).target))


def label_rules() -> str:
    """Every rule of label inference with its source and what it assumes."""
    return _page("Every rule of label inference", RULES.names(), _rule)


def inputs() -> str:
    """Controls, data sets and suites that are shipped."""
    rows = [f"| `{name}` | {meaning} |" for name, meaning in MEANING.items()]
    lines = ["# Controls, data sets and suites", "", "## Controls", "", "| control | what it is |", "|---|---|", *rows]
    lines += ["", "## Data sets", ""]
    lines += [f"* `{name}`: {_first_line(DATASETS.get(name).target)}" for name in DATASETS.names()]
    lines += ["", "## Suites"]
    for name in suite_names():
        lines += ["", f"### `{name}`", "", "```yaml", suite_path(name).read_text(encoding="utf-8").rstrip(), "```"]
    return "\n".join(lines) + "\n"


def python() -> str:
    """What `import gradinv` offers, and what entries of one's own are made of, for mkdocstrings to fill in."""
    offered = [f"gradinv.{name}" for name in gradinv.__all__ if not inspect.ismodule(getattr(gradinv, name))]
    lines = ["# The Python interface", ""]
    for title, names in (("From `import gradinv`", offered), ("For entries of your own", BOUNDARIES)):
        lines += [f"## {title}", "", *(f"::: {_defined_at(name)}\n" for name in names if "__version__" not in name)]
    return "\n".join(lines)


def _page(title: str, names: Iterable[str], entry: Callable[[str], list[str]]) -> str:
    return (
        "\n".join([f"# {title}", *(line for name in names for line in ("", f"## `{name}`", "", *entry(name)))]) + "\n"
    )


def _attack(name: str) -> list[str]:
    entry = ATTACKS.get(name)
    facts = {
        "threat model": f"letter {entry.metadata['letter']} or more",
        "needs": entry.metadata["needs"],
        "solves exactly": "yes" if entry.metadata["exact"] else "",
        "paper": _paper(entry.metadata["paper"]),
    }
    presets = [f"| `{key}` | {_values(PRESETS.get(key).target)} |" for key in PRESETS.names(f"{name}.*")]
    table = ["", "| preset | what it sets |", "|---|---|", *presets] if presets else []
    return [*_text(entry.target), "", *_facts(facts), *_parameters(entry.target), *table]


def _defense(name: str) -> list[str]:
    entry = DEFENSES.get(name)
    target = entry.target
    facts = {
        "acts on": ", ".join(target.acts),
        "an attacker can know": target.knowable,
        "costs": target.cost,
        "standard settings": ", ".join(f"`{setting}`" for setting in target.grid),
        "changes no bit at": f"`{target.neutral}`" if target.neutral else "",
        "is never neutral": target.never_neutral,
        "paper": _paper(entry.metadata["paper"]),
    }
    return [*_text(target), "", *_facts(facts), *_parameters(target)]


def _metric(name: str) -> list[str]:
    declared = facts_of(name)
    assert declared is not None  # the name is from the registry
    facts = {
        "meaning": declared.meaning,
        "unit": declared.unit,
        "range": f"{declared.low:g} to {declared.high:g}",
        "better": declared.direction,
        "one value": f"per {declared.per}",
        "weights": declared.weights or "",
    }
    return [*_text(METRICS.get(name).target), "", *_facts(facts)]


def _part(target: Any) -> list[str]:
    return [*_text(target), *_parameters(target)]


def _rule(name: str) -> list[str]:
    entry = RULES.get(name)
    assumed = [f"{part.meaning}{'' if part.required else ' (else a note)'}" for part in entry.target.assumptions]
    facts = {
        "source": entry.metadata["source"],
        "assumes": "; ".join(assumed),
        "threat model": f"letter {entry.metadata['letter']} or more",
    }
    return [*_text(entry.target), "", *_facts(facts), *_parameters(entry.target)]


def _parameters(target: Any) -> list[str]:
    signature = inspect.signature(target.__init__).parameters.values()
    named = [parameter for parameter in signature if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    rows = [f"| `{parameter.name}` | `{parameter.default}` |" for parameter in named]
    return ["", "| parameter | default |", "|---|---|", *rows] if rows else []


def _facts(facts: dict[str, str]) -> list[str]:
    return [f"* **{name}**: {text}" for name, text in facts.items() if text]


def _paper(paper: Paper | None) -> str:
    if paper is None:
        return ""
    year = "" if str(paper.year) in paper.venue else f" {paper.year}"
    return f"{paper.authors}: [{paper.title}]({paper.url}), {paper.venue}{year}"


def _values(parameters: dict[str, Any]) -> str:
    return ", ".join(f"`{name}={value}`" for name, value in parameters.items()) or "the paper's"


def _text(target: Any) -> list[str]:
    # Markdown would take the >>> of an example for a quotation.
    return EXAMPLE.sub(r"```pycon\n\g<0>\n```", inspect.getdoc(target) or "").splitlines()


def _first_line(target: Any) -> str:
    return next(iter(_text(target)), "")


def _defined_at(name: str) -> str:
    # Doors load lazily and hold no definitions: a page that is made without importing needs the file that does.
    module, _, attribute = name.rpartition(".")
    target = getattr(__import__(module, fromlist=[attribute]), attribute)
    return f"{target.__module__}.{attribute}"
