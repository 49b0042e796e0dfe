"""How one row of a board is run again: a suite file, made from the specifications in its records."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from gradinv.metrics.records import Record
from gradinv.metrics.report import Rerun


def rerun_of(name: str, trials: Sequence[Record], controls: Sequence[str]) -> Rerun | None:
    """A suite with just these trials of one attack and these controls, and the options of `gradinv run` beside it.

    None where the records hold no specification. A weight file stands in the suite by its name alone: where it lies
    differs from machine to machine.
    """
    spec = trials[0].spec
    if not spec:
        return None
    suite = {
        "name": name,
        "dataset": spec["dataset"],
        "image_size": spec["image_size"],
        "victims": [_victim(spec["victim"])],
        "attacks": [spec["attack"]],
        "controls": list(dict.fromkeys(controls)) or "none",
        "defenses": [spec["defense"]],
        "threat_model": spec["threat_model"],
        "batch_sizes": [spec["batch_size"]],
        # Repetitions count from 0, so that the last one says how many there must be to have it.
        "batches": max(trial.repetition for trial in trials) + 1,
        "budget": "paper" if spec["budget"] is None else spec["budget"],
        "metrics": spec["metrics"],
        **({"split": spec["split"]} if "split" in spec else {}),
    }
    text = yaml.safe_dump(suite, sort_keys=False, default_flow_style=None, width=100)
    # Only files of other packages have a source hash; which file it was nobody but the reader knows.
    plugins = ["--plugin FILE"] if spec["sources"] else []
    return Rerun(text, (*plugins, _option("device", spec["device"]), *_engine(spec)))


def _engine(spec: dict[str, Any]) -> list[str]:
    """The engine's options; the precision only where it is not what everybody has."""
    # Records from before there was a choice lack both fields; they were run alone and in float32.
    precision = spec.get("precision", "float32")
    options = [_option("engine", spec["engine"]), _option("together", spec.get("together", 1))]
    return options + ([_option("precision", precision)] if precision != "float32" else [])


def _option(name: str, value: object) -> str:
    # Quoted: readers copy the line into a shell, and the record may be a stranger's.
    return f"--{name} {shlex.quote(str(value))}"


def _victim(spec: dict[str, Any]) -> dict[str, Any]:
    chosen = {name: value for name, value in spec.items() if value is not None}
    if "weights" in chosen:
        chosen["weights"] = Path(chosen["weights"]).name
    return chosen
