"""Run a suite, or a single trial, as `gradinv run` does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from gradinv.benchmark.api.results import Run, Trial
from gradinv.benchmark.experiment import make_record, run_together
from gradinv.benchmark.machine import Device, resolve_device
from gradinv.benchmark.plugins import load_plugin
from gradinv.benchmark.runs import (
    EngineChoice,
    Planner,
    RunOptions,
    Suite,
    Watcher,
    hash_of,
    load_suite,
    run_plan,
    select,
    suite_of,
    suite_path,
)
from gradinv.benchmark.victims import load_victim
from gradinv.metrics.image_size import ImageSize
from gradinv.metrics.records import RunDirectory, require_folder, short_name

Settings = Mapping[str, Any]
_NONE: Settings = {}


def run(
    suite: str | Path | Settings,
    *,
    out: str | Path | None = None,
    attacks: Sequence[str] = (),
    victims: str | None = None,
    defenses: str | None = None,
    batch_sizes: Sequence[int] = (),
    limit: int | None = None,
    settings: Settings = _NONE,
    plugins: Sequence[str | Path] = (),
    device: Device = "auto",
    engine: Literal["auto", "eager", "captured", "compiled"] = "auto",
    jobs: int = 1,
    figures: bool = False,
    watchers: Sequence[Watcher] = (),
) -> Run:
    """Run what is missing of a suite, and give all that it asks for; the same call goes on where it was stopped.

    `suite` is a shipped name, a YAML file, or a mapping with the fields of one. The other arguments are the options of
    `gradinv run`, `settings` its `--set`; `out` is the run directory, else `runs/SUITE`. An attack that is defined in
    the notebook or script itself is known already; with `jobs` above 1 it has to stand in a file of `plugins`.
    Each of the `watchers` is told of every trial that ends (`gradinv.benchmark.runs.Watcher`: three methods). Raises
    RequestError in one line where the request is wrong; a trial that fails is in the records, with its reason.
    """
    for path in plugins:
        load_plugin(Path(path))
    whole = _suite(suite, settings)
    part = select(whole, attacks=attacks, victims=victims, defenses=defenses, batch_sizes=batch_sizes, limit=limit)
    planner = Planner(device=resolve_device(device), download=False, choice=EngineChoice(engine))
    directory = Path(out) if out is not None else Path("runs") / short_name(whole.name)
    require_folder(directory, "out")
    options = RunOptions(
        RunDirectory(directory), jobs, tuple(map(Path, plugins)), figures=figures, watchers=tuple(watchers)
    )
    ended = run_plan(planner.plan(part, hash_of(whole), whole), options, Console(quiet=True))
    return Run((directory,), ended.records)


def trial(
    attack: str,
    *,
    model: str = "resnet18",
    state: Literal["untrained", "early", "trained", "pretrained"] = "untrained",
    dataset: str = "photos",
    image_size: ImageSize | Sequence[int] | None = None,
    batch_size: int = 1,
    repetition: int = 0,
    budget: int | Literal["paper"] = 1_000,
    defense: str = "none",
    control: str = "",
    threat_model: Settings = _NONE,
    victim: Settings = _NONE,
    metrics: Sequence[str] | None = None,
    device: Device = "auto",
) -> Trial:
    """Run one trial and give its images and scores; nothing is written.

    It is the trial that a suite of these fields would run: same batch, same seeds, same bits. `victim` takes further
    fields of a suite's victim (`seed`, `stem`, `weights`, ...), `threat_model` those of its threat model, `control`
    the name of a control of the attack. `repetition` is the number of the private batch. RequestError in one line where
    the request is wrong; ImpossibleCellError, with the reason, where the attack cannot be run in this cell.

    >>> import gradinv
    >>> done = gradinv.trial("idlg", model="lenet_dlg", image_size=16, budget=3)
    >>> done.record.state, tuple(done.reconstructions.shape)
    ('done', (1, 3, 16, 16))
    """
    fields = {
        "dataset": dataset,
        "image_size": image_size,
        "victims": [{"model": model, "state": state, **victim}],
        "attacks": [attack],
        "controls": [control] if control else "none",
        "defenses": [defense],
        "threat_model": dict(threat_model),
        "batch_sizes": [batch_size],
        "batches": repetition + 1,
        "budget": budget,
        **({} if metrics is None else {"metrics": list(metrics)}),
    }
    # A suite has all repetitions up to its last: that one is run, and of the others nothing but the plan is made.
    suite = suite_of(fields, "trial", "trial")
    plan = Planner(device=resolve_device(device), download=False).plan(suite, "")
    planned = next(t for t in plan.trials if (t.spec.repetition, t.spec.control) == (repetition, control))
    data = plan.dataset_of(planned.spec)
    loaded = load_victim(planned.spec.victim, data)
    # Now that the weights are known the specification is whole, and the trial has an id.
    planned = planned.changed(weights_hash=loaded.weights_hash)
    (outcome,) = run_together([planned.spec], data, loaded)
    originals = outcome.tensors["original"].float() / 255  # stored with eight bits, so that nothing is lost
    return Trial(make_record(planned, outcome), originals, outcome.floats["reconstruction"])


def _suite(suite: str | Path | Settings, settings: Settings) -> Suite:
    if isinstance(suite, Mapping):
        return suite_of(suite, "suite", "suite", settings)
    return load_suite(suite_path(str(suite)), settings)
