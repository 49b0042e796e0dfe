"""`gradinv identify`: judge the pictures of finished runs by metrics that their records lack, or by another network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gradinv.benchmark.commands.names import models
from gradinv.benchmark.commands.options import LARGEST_SEED, Download, Plugins, load_plugins, say
from gradinv.metrics.records import require_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gradinv.metrics.records import Record


def identify(
    runs: list[Path],
    network: Annotated[
        str | None,
        typer.Option(
            help="A further judge, a timm model; never the attacked victim. Else the default one.",
            autocompletion=models,
        ),
    ] = None,
    state: Annotated[
        Literal["untrained", "trained", "pretrained"], typer.Option(help="State of the judge's weights.")
    ] = "trained",
    # Not 0, the seed of most victims: a judge must not be the network that was attacked.
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the judge's weights; victims have 0.")
    ] = 1,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of state trained; else by the size of the data.")] = None,
    weights: Annotated[Path | None, typer.Option(help="A local weight file of the judge instead.")] = None,
    download: Download = False,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Rank the originals of finished runs: does each picture point at its original among the pool's photographs?

    Measures what the records lack of the metrics of every trial, and the ranks by `--network`. The values stand beside
    the records; the runs' leaderboards are written again with their columns.
    """
    from gradinv.benchmark.runs import chosen_judge, identify as judge_run
    from gradinv.benchmark.victims import checked_spec
    from gradinv.metrics.boards import write_board
    from gradinv.metrics.records import RunDirectory, read_records

    for directory in runs:
        require_folder(directory, "the run directory")
    load_plugins(plugin, download)
    file = None if weights is None else str(weights)
    spec = None if network is None else checked_spec(network, state, seed=seed, epochs=epochs, weights=file)
    judge = chosen_judge(spec, download=download)
    for directory in runs:
        records, faults = read_records([directory])
        for fault in faults:
            say(fault)
        run = RunDirectory(directory)
        judged = judge_run(run, records, judge)
        every = read_records([directory])[0]  # again: the values stand in files beside the records
        write_board(every, run.board)
        print("\n".join(_lines(every)))
        print(f"{judged} of {sum(record.is_scored for record in records)} scored trials judged; wrote {run.board}")


def _lines(records: "Sequence[Record]") -> "Iterator[str]":
    """Each cell with its normalised ranks and their 95 % intervals; its controls say what chance and priors give."""
    from gradinv.metrics.images import judge_of
    from gradinv.metrics.records import samples_of
    from gradinv.metrics.statistics import metric_interval

    for sample in samples_of(records, "records"):
        cell = sample.cell
        name = f"{cell.victim} {cell.victim_state} {cell.defense} B={cell.batch_size} {cell.key}"
        for metric in filter(judge_of, sample.values):
            rank = metric_interval(metric, list(sample.means(metric).values()))
            yield f"{name}: {metric} {rank.mean:.3f} [{rank.low:.3f}, {rank.high:.3f}], {rank.n} batches"
