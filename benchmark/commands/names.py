"""Names of everything that a verb can be asked for: what `gradinv list` prints, and the shell completes.

Nothing here imports torch but the lists of models, controls and updates: a shell that waits for seconds completes
nothing.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import typer

Kind = Literal[
    "attacks",
    "controls",
    "datasets",
    "defenses",
    "distances",
    "inits",
    "metrics",
    "models",
    "recipes",
    "rules",
    "suites",
]
_MODEL = re.compile(r"^@register_model\s+def (\w+)", re.MULTILINE)


def names_of(kind: Kind) -> list[str]:
    """All names of a kind, without those of plug-ins that are not loaded."""
    if kind == "attacks":
        from gradinv.attacks.registry import attack_keys

        return attack_keys()
    if kind in ("distances", "inits"):
        from gradinv.attacks.gradient_matching import DISTANCES, INITS

        return (DISTANCES if kind == "distances" else INITS).names()
    if kind == "defenses":
        from gradinv.benchmark.defenses import DEFENSES

        return DEFENSES.names()
    if kind == "metrics":
        from gradinv.metrics.images import METRICS

        return METRICS.names()
    if kind == "datasets":
        from gradinv.benchmark.datasets import dataset_names

        return dataset_names()
    if kind == "rules":
        from gradinv.attacks.label_rules import rule_keys

        return rule_keys()
    if kind == "recipes":
        from gradinv.benchmark.victims import recipe_names

        return recipe_names()
    if kind == "suites":
        from gradinv.benchmark.runs import suite_names

        return suite_names()
    return _slow_names(kind)


def _slow_names(kind: Kind) -> list[str]:
    """Names that only torch or timm know."""
    if kind == "controls":
        from gradinv.benchmark.experiment import CONTROLS

        return list(CONTROLS)
    import timm

    # Registers our own networks with timm.
    import gradinv.benchmark.victims.networks  # noqa: F401

    return timm.list_models()


def attacks() -> list[str]:
    """Attacks and their presets."""
    return names_of("attacks")


def defenses(incomplete: str) -> list[str]:
    """Defenses, the next one too where several are composed with `+`."""
    composed = incomplete[: incomplete.rfind("+") + 1]
    return [composed + name for name in names_of("defenses")]


def training_recipes() -> list[str]:
    """The recipes of victims that ship with gradinv."""
    return names_of("recipes")


def metrics() -> list[str]:
    """Metrics, judges of identity aside, which are networks."""
    return names_of("metrics")


def datasets() -> list[str]:
    """Registered data sets, and image folders under the data root."""
    return names_of("datasets")


def suites() -> list[str]:
    """Shipped suites; where none begins as what is typed, the shell goes on with files."""
    return names_of("suites")


def recipes() -> list[str]:
    """Data sets that `gradinv data` can make."""
    from gradinv.benchmark.datasets import OBTAINABLE

    return list(OBTAINABLE)


def rules() -> list[str]:
    """Rules of label inference, with their variants."""
    return names_of("rules")


def models() -> list[str]:
    """Networks of ours and timm's, as their files register them, which are read and not run."""
    from importlib.util import find_spec

    places = [Path(__file__).parents[1] / "victims"]
    timm = find_spec("timm")
    places += [Path(folder) / "models" for folder in (timm and timm.submodule_search_locations) or []]
    texts = [path.read_text(encoding="utf-8") for place in places for path in place.glob("*.py")]
    return sorted(name for text in texts for name in _MODEL.findall(text))


def figures() -> list[str]:
    """Kinds of figures."""
    from gradinv.metrics.figures import FIGURES

    return list(FIGURES)


def widths() -> list[str]:
    """Widths of figures that have a name."""
    from gradinv.metrics.figures import WIDTHS

    return list(WIDTHS)


def cards() -> list[str]:
    """GPUs that time can be reckoned for."""
    from gradinv.benchmark.estimates import CARDS

    return list(CARDS)


def updates() -> list[str]:
    """Kinds of updates that a client may send."""
    from gradinv.attacks.update import UPDATES

    return list(UPDATES)


def states() -> list[str]:
    """States of a network's weights."""
    from gradinv.benchmark.victims import VictimSpec

    return list(get_args(VictimSpec.model_fields["state"].annotation))


def listed(ctx: typer.Context) -> list[str]:
    """The names of the kind that `gradinv list` was given before."""
    kind = _given(ctx, "kind")
    return models() if kind == "models" else names_of(kind)  # type: ignore[arg-type]


def entries(ctx: typer.Context) -> list[str]:
    """The names of the kind that `gradinv show` was given before."""
    kind = _given(ctx, "kind")
    if kind == "model":
        return models()
    # Controls are asked for by name alone, and are few: they are not worth torch.
    return names_of(f"{kind}s") if kind and kind not in ("schema", "control") else []  # type: ignore[arg-type]


def victims_of_suite(ctx: typer.Context) -> list[str]:
    """The keys of the victims of the suite that was given before."""
    from gradinv.benchmark.victims import VictimSpec

    keys = []
    for fields in _of_suite(ctx, "victims"):
        try:
            keys.append(VictimSpec(**fields).key)
        except (TypeError, ValueError):
            continue  # the verb itself says what is wrong with the suite
    return list(dict.fromkeys(keys))


def defenses_of_suite(ctx: typer.Context) -> list[str]:
    """The keys of the defenses of the suite that was given before."""
    return list(dict.fromkeys(map(str, _of_suite(ctx, "defenses"))))


def attacks_of_board(ctx: typer.Context) -> list[str]:
    """The keys of the attacks of the board that was given before; of a suite every attack and preset."""
    rows = _board(ctx)
    keys = [
        f"{row.get('attack')}{row.get('preset') and '.'}{row.get('preset')}{row.get('parameters')}"
        for row in rows
        if row.get("is_control") == "false"
    ]
    return list(dict.fromkeys(keys)) if rows else attacks()


def victims_of_board(ctx: typer.Context) -> list[str]:
    """The victims of the board that was given before."""
    return list(dict.fromkeys(row["victim"] for row in _board(ctx) if row.get("victim")))


def defenses_of_board(ctx: typer.Context) -> list[str]:
    """The defenses of the board that was given before."""
    return list(dict.fromkeys(row["defense"] for row in _board(ctx) if row.get("defense")))


def _board(ctx: typer.Context) -> list[dict[str, str]]:
    """The rows of the board that was given before; none where no board can be read, of which the verb says why."""
    path = _given(ctx, "suite")
    if not path.endswith(".csv"):
        return []
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return []


def _of_suite(ctx: typer.Context, field: str) -> Iterator[Any]:
    """What stands under a field anywhere in the suite; nothing where there is no suite that can be read."""
    from gradinv.benchmark.runs import SHIPPED
    from gradinv.benchmark.strict_yaml import read_yaml

    name = _given(ctx, "suite")
    shipped = SHIPPED / f"{name}.yaml"
    try:
        yield from _values(read_yaml((shipped if shipped.is_file() else Path(name)).read_text(encoding="utf-8")), field)
    except (OSError, ValueError):
        return


def _values(read: Any, field: str) -> Iterator[Any]:
    if isinstance(read, list):
        for item in read:
            yield from _values(item, field)
    elif isinstance(read, dict):
        for name, value in read.items():
            yield from (value if isinstance(value, list) else [value]) if name == field else _values(value, field)


def _given(ctx: typer.Context, argument: str) -> str:
    """What was typed for an argument of the verb before the word that is completed; empty where nothing was."""
    # An option that still lacks its value leaves all arguments where the parser found them, in order.
    return str(ctx.params.get(argument) or next(iter(ctx.args), ""))
