"""Verbs of defenses: `utility`, what they cost the model, and `recommend`, which to choose."""

from pathlib import Path
from typing import Annotated

import typer

from gradinv.benchmark.commands.names import suites
from gradinv.benchmark.commands.options import Download, Plugins, load_plugins, say


def utility(
    suite: Annotated[
        str, typer.Argument(help="A shipped suite or a YAML file: its victims and defenses.", autocompletion=suites)
    ],
    out: Annotated[Path, typer.Option(help="The table, as CSV; `gradinv plot` finds utility.csv beside the trials.")],
    seeds: Annotated[int, typer.Option(min=2, max=100, help="Trainings of each setting.")] = 3,
    clients: Annotated[int, typer.Option(min=1, max=1000)] = 5,
    rounds: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    batch_size: Annotated[int, typer.Option(min=1, max=4096, help="Images of a client's round.")] = 16,
    alpha: Annotated[float, typer.Option(min=1e-3, help="Dirichlet concentration; small: unequal classes.")] = 0.5,
    lr: Annotated[float, typer.Option(min=1e-6, help="Of the server's Adam.")] = 0.003,
    download: Download = False,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Train with every defense of a suite, beside no defense, and write accuracy and upload; kept, and run once."""
    import pandas as pd

    from gradinv.benchmark.datasets import create_dataset
    from gradinv.benchmark.runs import load_suite, suite_path
    from gradinv.benchmark.utility import Federation, utility_row
    from gradinv.benchmark.victims import load_victim
    from gradinv.metrics.records import write_csv

    load_plugins(plugin, download)
    federation = Federation(clients=clients, rounds=rounds, batch_size=batch_size, alpha=alpha, lr=lr)
    rows = {}
    for block in load_suite(suite_path(suite)).blocks:
        dataset = create_dataset(block.dataset, block.image_size, download=download)
        for spec in block.victims:
            victim = load_victim(spec, dataset)
            for defense in ("none", *block.defenses):
                place = (dataset.name, dataset.image_size, spec.key, spec.seed, defense)
                # Blocks of a suite may share a victim and a defense.
                if place not in rows:
                    rows[place] = utility_row(defense, dataset, spec, victim, federation, range(seeds))
                    print(f"{spec.key} {defense}: {_in_words(rows[place])}", flush=True)
                    # After every row, so that a command that is stopped leaves what it has measured.
                    write_csv(pd.DataFrame(list(rows.values())), out)


def _in_words(row: dict[str, object]) -> str:
    mean = row.get("accuracy_mean")
    return f"accuracy {mean:.1%}" if isinstance(mean, float) else str(row["notes"])


def recommend(runs: list[Path]) -> None:
    """Say which defenses of run directories no other beats, what each stops at which price, and which of them fall.

    Prices are read from the utility.csv that lies in a run directory.
    """
    from gradinv.benchmark.audit import recommendation
    from gradinv.metrics.records import read_prices, read_records

    records, faults = read_records(runs)
    for fault in faults:
        say(fault)
    print("\n".join(recommendation(records, read_prices(runs))))
