"""`gradinv iip`: do the reconstructions of finished runs point at their originals?"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gradinv.benchmark.commands.options import Device, Download, resolve_device
from gradinv.metrics.registry import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gradinv.benchmark.victims.loading import VictimSpec
    from gradinv.metrics.records.record import Record


def iip(
    runs: list[Path],
    network: Annotated[str, typer.Option(help="The judge, a timm model; never the attacked victim.")] = "resnet18",
    state: Annotated[
        Literal["untrained", "trained", "pretrained"], typer.Option(help="State of the judge's weights.")
    ] = "trained",
    seed: Annotated[int, typer.Option(help="Seed of the judge's weights; victims have 0.")] = 1,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of state trained; else by the size of the data.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A local weight file of the judge instead.")] = None,
    device: Device = "auto",
    download: Download = False,
) -> None:
    """Add identifiability (IIP) to finished runs: is each reconstruction's nearest evaluation image its original?

    Nearest by the cosine of the network's pooled features, among the whole evaluation split and within the class. The
    values stand beside the records; the runs' leaderboards are written again with their columns.
    """
    from gradinv.benchmark.runs.identify import identify
    from gradinv.metrics.boards.leaderboard import write_leaderboard
    from gradinv.metrics.records.reading import read_records

    spec, chosen = _spec(network, state, seed, epochs, weights), resolve_device(device)
    for directory in runs:
        records, faults = read_records([directory])
        for fault in faults:
            print(fault, file=sys.stderr)
        measured = identify(directory, records, spec, device=chosen, download=download)
        again = read_records([directory])[0]
        board, _ = write_leaderboard(again, directory)
        print("\n".join(_lines(again)))
        print(f"{measured} of {sum(record.is_scored for record in records)} scored trials judged; wrote {board}")


def _spec(model: str, state: str, seed: int, epochs: int | None, weights: Path | None) -> "VictimSpec":
    """The judge; RequestError in one line where its options contradict each other."""
    from pydantic import ValidationError

    from gradinv.benchmark.victims.loading import VictimSpec

    own = {"epochs": epochs, "weights": None if weights is None else str(weights)}
    try:
        return VictimSpec.model_validate({"model": model, "state": state, "seed": seed, **own})
    except ValidationError as error:
        raise RequestError(f"--state {state}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _lines(records: "Sequence[Record]") -> "Iterator[str]":
    """Each cell with its shares and their 95 % intervals over batches; its controls say what chance and priors give."""
    from gradinv.metrics.figures.recovery_curves import share_better
    from gradinv.metrics.images.facts import facts_of
    from gradinv.metrics.images.iip import iip_title
    from gradinv.metrics.records.samples import samples_of

    for sample in samples_of(records, "records"):
        words = [str(sample.setting[name]) for name in ("victim", "victim_state", "defense")]
        cell = " ".join([*words, f"B={sample.setting['batch_size']}", sample.key])
        for metric in (one for one in sample.values if iip_title(one)):
            facts = facts_of(metric)
            if facts is not None:
                share = share_better(sample.values[metric], 0.5, facts)
                bounds = f"[{100 * share.low:.1f}, {100 * share.high:.1f}]"
                yield f"{cell}: {metric} {100 * share.mean:.1f} % {bounds}, {share.n} batches"
