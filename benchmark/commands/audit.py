"""`gradinv audit`: what leaks of somebody's own model and images, and which defenses stop it."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradinv.benchmark.commands.names import attacks, defenses, updates
from gradinv.benchmark.commands.options import (
    ImageSizes,
    Plugins,
    asked_image_size,
    load_plugins,
    read_settings,
    say,
    taking,
)
from gradinv.benchmark.machine import Device, resolve_device
from gradinv.metrics.records import require_folder
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from gradinv.benchmark.audit import AuditRequest

MOST_MINUTES = 100_000


@dataclass(frozen=True)
class AuditOptions:
    """What `gradinv audit` is asked for, option by option."""

    model: Annotated[str, typer.Option(help="FILE.py:FUNCTION, which makes the network: any torch.nn.Module.")]
    data: Annotated[Path, typer.Option(help="Folder of images: flat, in class folders, or in splits of these.")]
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the audit; the same command goes on in it.")]
    weights: Annotated[Path | None, typer.Option(help="Its weights (safetensors, or a checkpoint of tensors).")] = None
    minutes: Annotated[float, typer.Option(min=0.01, max=MOST_MINUTES, help="How long it may take.")] = 30
    update: Annotated[
        str,
        typer.Option(help="gradient, or weight_update[epochs=2,lr=0.01,minibatch=8].", autocompletion=updates),
    ] = "gradient"
    defense: Annotated[
        list[str],
        typer.Option(
            help="A defense to consider; repeatable; none: no defense. Without: three usual ones.",
            autocompletion=defenses,
        ),
    ] = field(default_factory=list)
    attack: Annotated[
        list[str],
        typer.Option(help="An attack in place of the strongest that are possible; repeatable.", autocompletion=attacks),
    ] = field(default_factory=list)
    batch_size: Annotated[list[int], typer.Option(min=1, help="Images in an update; repeatable.")] = field(
        default_factory=lambda: [1]
    )
    batches: Annotated[int, typer.Option(min=2, max=1000, help="Private batches for every cell.")] = 8
    budget: Annotated[int | None, typer.Option(min=1, help="Evaluations of a trial; else as many as fit.")] = None
    rounds: Annotated[
        int | None, typer.Option(min=0, help="Of the trainings that price defenses; 0: no prices; else as many as fit.")
    ] = None
    image_size: ImageSizes = None
    mean: Annotated[str, typer.Option(help="Of each channel, as training normalised images in [0, 1].")] = "0,0,0"
    std: Annotated[str, typer.Option(help="Of each channel.")] = "1,1,1"
    settings: Annotated[
        list[str], typer.Option("--set", help="KEY=VALUE over the suite's: threat_model.labels=none, ...")
    ] = field(default_factory=list)
    jobs: Annotated[int, typer.Option(min=1, max=1024, help="Worker processes.")] = 1
    device: Annotated[Device, typer.Option(help="auto takes CUDA where there is one.")] = "auto"
    plugin: Plugins = field(default_factory=list)


@taking(AuditOptions)
def audit(options: AuditOptions) -> None:
    """Audit a model and images of yours: what leaks, from where, which defenses stop it at which price.

    Writes a report (OUT/report/index.html) and says the same in sentences. No attack that succeeds is no proof of
    safety.
    """
    from gradinv.benchmark.audit import carry_out
    from gradinv.benchmark.machine import prepare_process

    prepare_process()
    require_folder(options.out, "--out")
    load_plugins(options.plugin)
    audited = carry_out(_request(options), say)
    print(f"{audited.text}\n\n{audited.page}")


def _request(options: AuditOptions) -> "AuditRequest":
    from gradinv.attacks.update import canonical_update
    from gradinv.benchmark.audit import DEFENSES, AuditRequest, Inputs
    from gradinv.benchmark.datasets import find_images
    from gradinv.benchmark.defenses import canonical_defense

    file, _, function = options.model.rpartition(":")
    images = find_images(options.data)
    # Absolute paths: they are written into a plug-in that is read by other processes, in other folders.
    inputs = Inputs(
        model=f"{Path(file).resolve()}:{function}" if file else options.model,
        data=str(options.data.resolve()),
        image_size=asked_image_size(options.image_size) or images.image_size,
        weights=None if options.weights is None else str(options.weights.resolve()),
        mean=_numbers("--mean", options.mean),
        std=_numbers("--std", options.std),
    )
    if min(inputs.std) <= 0:
        raise RequestError(f"--std {options.std}: every number must be above 0")
    defenses = [defense for defense in options.defense or DEFENSES if defense != "none"]
    return AuditRequest(
        inputs,
        options.out,
        options.minutes,
        update=canonical_update(options.update),
        defenses=tuple(canonical_defense(defense) for defense in defenses),
        attacks=tuple(options.attack),
        batch_sizes=tuple(options.batch_size),
        batches=options.batches,
        budget=options.budget,
        rounds=options.rounds,
        device=resolve_device(options.device),
        jobs=options.jobs,
        settings=read_settings("--set", options.settings),
    )


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or not all(math.isfinite(number) for number in numbers):
        raise RequestError(f"{option} {text}: write three numbers, as 0.485,0.456,0.406, or one for all channels")
    return numbers if len(numbers) == 3 else numbers * 3
