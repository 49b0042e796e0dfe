"""Markdown tables of the measurements, and where they stand in a file."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from gradinv.metrics.records.files import write_text
from tests.benchmarks.side_by_side.problems import ATTACKS
from tests.benchmarks.side_by_side.ratios import median_interval, paired_ratios, why_void
from tests.benchmarks.side_by_side.rounds import Measurement

PEERS = ("breaching", "breaching_allocator", "breaching_stock", "ours_plain")
LABELS = {
    "breaching": "breaching",
    "breaching_allocator": "breaching, our allocator settings",
    "breaching_stock": "breaching, preset unchanged",
    "ours_plain": "ours, default allocator",
}


def peers_table(measurements: Sequence[Measurement]) -> str:
    """One row a case: times, times in forward passes, and each peer's ratio to ours with its interval."""
    peers = [peer for peer in PEERS if any(peer in m.seconds or peer in m.errors for m in measurements)]
    heads = ["attack", "model", "B", "engine", "ours"]
    heads += [head for peer in peers for head in (LABELS[peer], "times ours [95 %]")]
    rows = []
    for m in measurements:
        row = [m.case.attack, m.case.model, str(m.case.batch), m.case.engine, _time(m, "ours")]
        rows.append(row + [cell for peer in peers for cell in (_time(m, peer), _ratio(m, peer))])
    return _markdown(heads, rows)


def objectives_table(measurements: Sequence[Measurement]) -> str:
    """One row a case and system: the objective at iterations 0, 20 and 40."""
    rows = [
        [m.case.attack, m.case.model, str(m.case.batch), name]
        + [f"{values[step]:.5g}" if step in values else "" for step in ("0", "20", "40")]
        for m in measurements
        for name, values in (m.objectives | {"change of ours by rounding": m.rounding}).items()
    ]
    return _markdown(["attack", "model", "B", "system", "iteration 0", "20", "40"], rows)


def forward_table(measurements: Sequence[Measurement]) -> str:
    """One row a model and batch size, one column an attack: an iteration in forward passes of the victim."""
    attacks = [attack for attack in ATTACKS if any(m.case.attack == attack for m in measurements)]
    cells = {(m.case.model, m.case.size, m.case.batch, m.case.attack): m for m in measurements}
    rows = []
    for model, size, batch in dict.fromkeys(key[:3] for key in cells):
        of_case = [cells[model, size, batch, attack] for attack in attacks if (model, size, batch, attack) in cells]
        forward = statistics.median([value for m in of_case for value in m.forward] or [float("nan")])
        row = [model, str(size), str(batch), f"{1000 * forward:.3g} ms"]
        rows.append(row + [_in_forwards(cells[model, size, batch, attack]) for attack in attacks])
    return _markdown(["model", "px", "B", "forward pass", *attacks], rows)


def insert(path: Path, name: str, text: str) -> None:
    """Put a table between the lines `<!-- NAME -->` and `<!-- /NAME -->` of a file; ValueError without these."""
    opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, first, rest = path.read_text(encoding="utf-8").partition(opening)
    _, second, after = rest.partition(closing)
    if not first or not second:
        raise ValueError(f"{path} has no place for the table {name}")
    write_text(path, f"{before}{opening}{text}\n{closing}{after}")


def _time(m: Measurement, system: str) -> str:
    """Milliseconds and forward passes per iteration, medians over the rounds; or why there are none."""
    if system in m.errors:
        return m.errors[system].replace("|", "/")
    if system not in m.seconds:
        return ""
    text = f"{1000 * statistics.median(m.seconds[system]):.3g} ms"
    passes = paired_ratios(m.seconds[system], m.forward) if m.forward else []
    return f"{text} ({statistics.median(passes):.1f} fwd)" if passes else text


def _ratio(m: Measurement, peer: str) -> str:
    if peer not in m.seconds or "ours" not in m.seconds:
        return ""
    void = why_void(m.objectives["ours"], m.objectives[peer], m.rounding)
    return void or _interval(paired_ratios(m.seconds[peer], m.seconds["ours"]), 2)


def _in_forwards(m: Measurement) -> str:
    if m.errors or not m.seconds:
        return m.errors.get("ours", "").replace("|", "/")
    return _interval(paired_ratios(m.seconds["ours"], m.forward), 1)


def _interval(values: Sequence[float], digits: int) -> str:
    found = median_interval(values)
    bounds = f" [{found.low:.{digits}f}, {found.high:.{digits}f}]" if found.low == found.low else ""
    return f"{found.value:.{digits}f}{bounds}"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
