"""Our attacks beside breaching 0.1.2, in units of the victim's forward pass, and against the size of the problem.

From the root of the repository, with `pip install -e ".[peers]"` for the first table:

    python -m tests.benchmarks.side_by_side --model lenet_dlg resnet18 --batch 1 8
    python -m tests.benchmarks.side_by_side --table forward
    python -m tests.benchmarks.side_by_side --table scaling --attack gradinversion --model resnet18
    python -m tests.benchmarks.side_by_side --table together --engine eager compiled
    python -m tests.benchmarks.side_by_side --table mathematics --engine eager compiled

Prints markdown; --write also puts it into leaderboards/speed.md, --json keeps every round.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch

from gradinv.attacks.gradient_matching.evaluation import Engine
from tests.benchmarks.side_by_side import tables
from tests.benchmarks.side_by_side.machine import describe_machine
from tests.benchmarks.side_by_side.mathematics import mathematics_table
from tests.benchmarks.side_by_side.problems import ATTACKS, LBFGS_EVALUATIONS, Case
from tests.benchmarks.side_by_side.rounds import ROOT, SYSTEMS, Measurement, measure
from tests.benchmarks.side_by_side.scaling import draw_scaling, measure_scaling, scaling_table
from tests.benchmarks.side_by_side.together import together_table

BOARDS = ROOT / "leaderboards"
MODELS = {
    "peers": ["lenet_dlg", "resnet18"],
    "forward": ["resnet18", "resnet50", "vit_small_patch16_224", "convnext_atto"],
    "scaling": ["resnet18"],
    "together": ["lenet_dlg", "test_resnet"],
    "mathematics": ["lenet_dlg", "test_resnet"],
}
ATTACKS_OF = {name: list(ATTACKS[:2]) for name in MODELS} | {"scaling": [ATTACKS[1]]}


def arguments() -> argparse.Namespace:
    """The command line; models and attacks default to those of the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=list(MODELS), default="peers")
    parser.add_argument("--attack", nargs="+", choices=ATTACKS)
    parser.add_argument("--model", nargs="+", help="names of timm, lenet_dlg among them")
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--size", type=int, default=32, help="pixels; default 32")
    parser.add_argument("--rounds", type=int, default=7, help="default 7; an interval needs 6")
    parser.add_argument("--iterations", type=int, help="timed in a round, for dlg a multiple of 20; default: 2 s worth")
    parser.add_argument("--device", default="cpu")
    engines = ["eager", "captured", "compiled"]
    parser.add_argument("--engine", nargs="+", choices=engines, default=["eager"], help="of ours")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=["ours", "breaching", "breaching_allocator"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="append one JSON line a case")
    parser.add_argument("--write", action="store_true", help="put the tables into leaderboards/speed.md")
    found = parser.parse_args()
    found.model = found.model or MODELS[found.table]
    found.attack = found.attack or ATTACKS_OF[found.table]
    if "dlg" in found.attack and (found.iterations or 0) % LBFGS_EVALUATIONS:
        parser.error(f"--iterations must be a multiple of {LBFGS_EVALUATIONS} for dlg")
    return found


def cases(options: argparse.Namespace) -> list[Case]:
    """Every combination that was asked for."""
    grid = product(options.attack, options.model, options.batch, options.engine)
    return [
        Case(attack, model, batch, options.size, device=options.device, engine=engine)
        for attack, model, batch, engine in grid
    ]


def keep(path: Path | None, measurements: Sequence[Measurement], machine: str) -> None:
    """Append the measurements with all their rounds."""
    if path is not None:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(m.row() | {"machine": machine}) + "\n" for m in measurements)


def measured(options: argparse.Namespace, machine: str) -> dict[str, str]:
    """The texts of the chosen table, by their place in the file."""
    if options.table == "scaling":
        base = Case(
            options.attack[0], options.model[0], 1, options.size, device=options.device, engine=options.engine[0]
        )
        table, found = measure_scaling(base, options.rounds, options.iterations)
        keep(options.json, found, machine)
        if options.write:
            draw_scaling(table, machine, BOARDS / "speed-scaling")
        return {"scaling": scaling_table(table)}
    base = Case(options.attack[0], options.model[0], 1, options.size, device=options.device)
    if options.table == "together":
        return {"together": together_table(base, options.model, options.rounds, options.engine)}
    if options.table == "mathematics":
        engines = [Engine(kind, together=width) for kind in options.engine for width in (1, 8)]
        others = [engine for engine in engines if engine != Engine()]
        return {"mathematics": mathematics_table(base, options.model, others, options.iterations or 300)}
    systems = ["ours"] if options.table == "forward" else options.systems
    found = []
    for case in cases(options):
        found.append(measure(case, systems, options.rounds, options.iterations))
        keep(options.json, found[-1:], machine)
    if options.table == "forward":
        return {"forward": tables.forward_table(found)}
    return {"peers": tables.peers_table(found), "objectives": tables.objectives_table(found)}


def main() -> None:
    """Measure and print."""
    options = arguments()
    torch.set_num_threads(1)
    machine = describe_machine(options.device)
    texts = measured(options, machine)
    about = f"{machine}; median of {options.rounds} rounds"
    for name, text in texts.items():
        print(f"{name}: {about}\n\n{text}\n")
        if options.write:
            tables.insert(BOARDS / "speed.md", name, f"{about}\n\n{text}")


if __name__ == "__main__":
    main()
