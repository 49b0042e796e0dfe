"""Carrying out an audit: labels, prices of the defenses, attacks with their controls, the report."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from gradinv.attacks.label_rules import rule_keys
from gradinv.benchmark.audit.design import (
    SHARE_OF_PRICES,
    SHARE_OF_TRIALS,
    AuditRequest,
    designed,
)
from gradinv.benchmark.audit.findings import NONE, AuditFindings, finding_of_each_defense
from gradinv.benchmark.audit.inputs import register_inputs
from gradinv.benchmark.audit.words import page_of
from gradinv.benchmark.datasets import Dataset, create_dataset
from gradinv.benchmark.experiment import MEANING, ImpossibleCellError
from gradinv.benchmark.label_inference import LabelSetting, infer_labels_of
from gradinv.benchmark.runs import Plan, RunOptions, rerun_of, run_plan
from gradinv.benchmark.utility import Federation, federated_accuracy, utility_row
from gradinv.benchmark.victims import LoadedVictim, load_victim
from gradinv.metrics.boards import label_board, write_label_boards
from gradinv.metrics.records import Record, RunDirectory, read_file, write_csv, write_text
from gradinv.metrics.report import Extras, write_audit

LABEL_BATCHES = 50
DEFENDED_BATCHES = 16
"""Of the labels under a defense, for which the client computes its whole update."""
LARGER_BATCH = 8
"""Of the labels alone, which are inferred from batches of this size as well: they cost one pass."""
PRICE_SEEDS = 3
CLIENTS, CLIENT_BATCH = 4, 8
LEAST_ROUNDS, MOST_ROUNDS = 5, 100

Say = Callable[[str], None]


@dataclass(frozen=True)
class Audited:
    """What an audit left: the page that says it, and the same as text."""

    page: Path
    text: str


def carry_out(request: AuditRequest, say: Say) -> Audited:
    """Audit within the minutes asked for, or a little more; the same call goes on where it was stopped.

    `say` is told in a line what is done. RequestError in one line where the request cannot be carried out.
    """
    started, seconds = time.monotonic(), 60 * request.minutes
    register_inputs(request.inputs)
    dataset = create_dataset(request.inputs.data_name, request.inputs.image_size)
    victim = load_victim(request.inputs.victim, dataset)
    design = designed(request, victim.module, SHARE_OF_TRIALS * seconds)
    request.inputs.write_plugin(request.plugin)
    labels = _labels(request, dataset, say)
    prices = _prices(request, dataset, victim, SHARE_OF_PRICES * seconds, say)
    records = _trials(request, design.plan, started + seconds)
    defenses = finding_of_each_defense(records, prices)
    page = page_of(AuditFindings(request, design, victim, dataset, records, defenses, labels))
    extras = Extras([request.out], MEANING, rerun_of)
    return Audited(write_audit(page, records, request.out / "report", extras), page.text)


def _labels(request: AuditRequest, dataset: Dataset, say: Say) -> pd.DataFrame:
    """The board of label inference with distinct labels, without a defense and with each, which `defense` names."""
    classes = len(set(dataset.split("evaluation").labels.tolist()))
    # Of all classes at once the labels are known without looking.
    wanted = {*request.batch_sizes, min(LARGER_BATCH, classes // 2)}
    sizes = tuple(sorted(size for size in wanted if 0 < size < classes))
    setting = LabelSetting(sizes or (1,), 1, None, tuple(rule_keys()), 25).possible(dataset)
    boards = {}
    for defense in dict.fromkeys([NONE, *request.defenses]):
        batches = LABEL_BATCHES if defense == NONE else DEFENDED_BATCHES
        say(f"labels, {'no defense' if defense == NONE else defense}: {batches} batches by every rule")
        try:
            cells = infer_labels_of(
                request.inputs.victim,
                dataset,
                replace(setting, defense=defense),
                batches=batches,
                out=request.out / "labels",
                device=request.device,
                progress=False,
            )
        except ImpossibleCellError as error:
            if defense == NONE:  # then there is nothing that a defense could be compared with
                raise
            say(f"labels, {defense}: {error}")
            continue
        if defense == NONE:
            write_label_boards(cells, request.out / "labels")
        boards[defense] = label_board(cells)
    together = pd.concat([board.assign(defense=defense) for defense, board in boards.items()], ignore_index=True)
    # Beside the undefended board, whose columns, being those of every published one, know no defense.
    write_csv(together, request.out / "labels" / "defended.csv")
    return together


def _prices(
    request: AuditRequest, dataset: Dataset, victim: LoadedVictim, seconds: float, say: Say
) -> dict[str, dict[str, Any]]:
    """Defense -> what a short federated training with it comes to; none where the time is too short for one."""
    if not request.defenses:
        return {}
    defenses = list(dict.fromkeys(["none", *request.defenses]))
    federation = _federation(request, dataset, victim, seconds / len(defenses) / PRICE_SEEDS)
    if federation is None:
        return {}
    rows: dict[str, dict[str, Any]] = {}
    for defense in defenses:
        say(f"price of {defense}: {federation.rounds} rounds of training, {PRICE_SEEDS} times")
        spec = request.inputs.victim
        rows[defense] = utility_row(defense, dataset, spec, victim, federation, range(PRICE_SEEDS))
    write_csv(pd.DataFrame(list(rows.values())), request.out / "utility.csv")
    return rows


def _federation(request: AuditRequest, dataset: Dataset, victim: LoadedVictim, seconds: float) -> Federation | None:
    """The longest training of so many seconds; the same one where the audit is gone on with."""
    kept = request.out / "federation.json"
    if request.rounds is not None:
        return _of(request.rounds) if request.rounds else None
    if kept.is_file():
        rounds = int(json.loads(read_file(kept))["rounds"])
    else:
        # One round with all that comes around it, such as judging the network: rounds are rather taken for slower than
        # they are, and the training rather ends early than late.
        start = time.perf_counter()
        federated_accuracy("none", dataset, victim, _of(1), 0)
        rounds = min(MOST_ROUNDS, int(seconds / (time.perf_counter() - start)))
        write_text(kept, json.dumps({"rounds": rounds}))
    return _of(rounds) if rounds >= LEAST_ROUNDS else None


def _of(rounds: int) -> Federation:
    return Federation(clients=CLIENTS, rounds=rounds, batch_size=CLIENT_BATCH)


def _trials(request: AuditRequest, plan: Plan, deadline: float) -> list[Record]:
    options = RunOptions(
        RunDirectory(request.out),
        request.jobs,
        plugins=(request.plugin,),
        figures=False,
        breadth_first=True,
        deadline=deadline,
    )
    return run_plan(plan, options, Console(quiet=True)).records
