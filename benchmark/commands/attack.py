"""`gradinv attack`: attack a leak file that anybody's training code wrote."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gradinv.benchmark.commands.names import attacks, models
from gradinv.benchmark.commands.options import LARGEST_SEED, Download, Plugins, load_plugins
from gradinv.benchmark.machine import Device, resolve_device
from gradinv.metrics.plain_text import one_line
from gradinv.metrics.records import require_folder
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from gradinv.benchmark.victims import VictimSpec

MOST_EVALUATIONS = 10**9


def attack(
    leak: Annotated[Path, typer.Argument(help="A leak file (safetensors); docs/leak-file.md says how to write one.")],
    victim: Annotated[
        str, typer.Option(help="The client's network: a timm model, or MODEL[stem=cifar].", autocompletion=models)
    ],
    key: Annotated[
        str, typer.Option("--attack", help="The attack's key; see `gradinv list attacks`.", autocompletion=attacks)
    ],
    weights: Annotated[
        Path | None, typer.Option(help="A file of the network's weights from before the update.")
    ] = None,
    state: Annotated[
        Literal["untrained", "trained", "pretrained"] | None, typer.Option(help="Else trained, which needs --weights.")
    ] = None,
    budget: Annotated[
        int | None, typer.Option(min=1, max=MOST_EVALUATIONS, help="Evaluations; else the paper's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED)] = 0,
    originals: Annotated[Path | None, typer.Option(help="A folder with the private images, to score against.")] = None,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Else runs/attack-NAME, by the leak.")] = None,
    device: Device = "auto",
    download: Download = False,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Attack a client of one's own: what its update gives away, scored where the originals are given.

    First it is said whether the update can come from this network. Writes slot-*.png, the same as floats
    (reconstructions.safetensors), and attack.json: the objective, its curve, the labels, the scores.
    """
    from gradinv.attacks.registry import create_attack
    from gradinv.benchmark import experiment

    folder = _new_folder(out or Path("runs") / f"attack-{leak.stem}")
    load_plugins(plugin, download)
    # Whatever can be wrong with the request is looked at before the first evaluation.
    chosen, spec = create_attack(key), _victim(victim, state, weights)
    observed = experiment.read_leak(leak)
    truth = None if originals is None else experiment.read_originals(originals, observed.shape)
    loaded = experiment.load_own_victim(spec, observed, leak, download=download)
    received = experiment.receive(observed, loaded.module.to(resolve_device(device)), leak)
    remarks = experiment.consistency(received)
    _say(remarks)
    trained = not loaded.state.startswith("untrained")
    reconstruction = experiment.attack_leak(chosen, received, trained=trained, seed=seed, budget=budget)
    pixels = experiment.pixels_of(reconstruction, received)
    facts: dict[str, Any] = {
        "leak": leak.name,
        "victim": {"key": spec.key, "state": loaded.state, "weights_hash": loaded.weights_hash},
        "attack": {"key": key, "hyperparameters": repr(chosen), "seed": seed, "budget": budget},
        "threat_model": received.leak.threat_model.model_dump(),
        "consistency": remarks,
        **experiment.attack_facts(reconstruction),
        "scores": None if truth is None else experiment.scores_of(pixels["reconstruction"], truth),
    }
    written = experiment.write_result(folder, pixels, facts)
    _say([*_summary(facts), f"wrote {len(written)} files to {folder}"])


def _say(lines: list[str]) -> None:
    """Lines on stdout, without control characters: names are the user's files' own."""
    print("\n".join(map(one_line, lines)))


def _victim(text: str, state: str | None, weights: Path | None) -> "VictimSpec":
    """The victim that the options describe; RequestError in one line where they contradict each other."""
    from pydantic import ValidationError

    from gradinv.benchmark.experiment import victim_of_key

    try:
        return victim_of_key(text, state=state, weights=weights)
    except ValidationError as error:
        raise RequestError(f"--victim {text}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _new_folder(folder: Path) -> Path:
    """A folder that no result lies in: two of them would be taken for one."""
    require_folder(folder, "--out")
    if folder.is_dir() and any(folder.iterdir()):
        raise RequestError(f"--out {folder} is not empty; give another folder, or remove it")
    return folder


def _summary(facts: dict[str, Any]) -> list[str]:
    """The objective, and each original with its values."""
    start, end = facts["objective_start"], facts["objective_end"]
    course = "" if start is None or end is None else f"objective {start:.4g} -> {end:.4g}, "
    lines = [f"{course}{facts['evaluations']} evaluations; labels {facts['label_method']}: {facts['labels']}"]
    lines += [f"stopped: {facts['stopped']}"] * bool(facts["stopped"]) + facts["notes"]
    if facts["scores"] is None:
        return lines
    for image in facts["scores"]["images"]:
        values = ", ".join(f"{name} {value:.3f}" for name, value in image.items() if name not in ("original", "slot"))
        lines.append(f"{image['original']} (slot {image['slot']}): {values}")
    means = ", ".join(f"{name} {value:.3f}" for name, value in facts["scores"]["mean"].items())
    return [*lines, f"mean: {means}", *facts["scores"]["notes"]]
