"""`gradinv iip`: do the reconstructions of finished runs point at their originals?"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gradinv.benchmark.commands.options import Device, Download, resolve_device, victim_spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gradinv.metrics.records import Record


def iip(
    runs: list[Path],
    network: Annotated[str, typer.Option(help="The judge, a timm model; never the attacked victim.")] = "resnet18",
    state: Annotated[
        Literal["untrained", "trained", "pretrained"], typer.Option(help="State of the judge's weights.")
    ] = "trained",
    # Not 0, the seed of most victims: a judge must not be the network that was attacked.
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
    from gradinv.benchmark.runs import identify
    from gradinv.metrics.boards import write_board
    from gradinv.metrics.records import RunDirectory, read_records

    file = None if weights is None else str(weights)
    judge, chosen = victim_spec(network, state, seed=seed, epochs=epochs, weights=file), resolve_device(device)
    for directory in runs:
        records, faults = read_records([directory])
        for fault in faults:
            print(fault, file=sys.stderr)
        run = RunDirectory(directory)
        measured = identify(run, records, judge, device=chosen, download=download)
        judged = read_records([directory])[0]  # again: the values stand in files beside the records
        write_board(judged, run.board)
        print("\n".join(_lines(judged)))
        print(f"{measured} of {sum(record.is_scored for record in records)} scored trials judged; wrote {run.board}")


def _lines(records: "Sequence[Record]") -> "Iterator[str]":
    """Each cell with its shares and their 95 % intervals over batches; its controls say what chance and priors give."""
    from gradinv.metrics.images import facts_of, iip_title
    from gradinv.metrics.records import samples_of
    from gradinv.metrics.statistics import share_better

    for sample in samples_of(records, "records"):
        cell = sample.cell
        name = f"{cell.victim} {cell.victim_state} {cell.defense} B={cell.batch_size} {cell.key}"
        for metric in filter(iip_title, sample.values):
            facts = facts_of(metric)
            if facts is not None:
                share = share_better(sample.values[metric], 0.5, facts)
                bounds = f"[{100 * share.low:.1f}, {100 * share.high:.1f}]"
                yield f"{name}: {metric} {100 * share.mean:.1f} % {bounds}, {share.n} batches"
