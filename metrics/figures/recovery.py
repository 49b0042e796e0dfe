"""The figure of recovery curves: how many images each attack recovers how well, beside the best of its controls."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.recovery_curves import STATED, Recovery, curves_of, envelope, share_better
from gradinv.metrics.figures.style import BAND, DARK_GREY, drawing, look, save, write_table
from gradinv.metrics.images.facts import Facts, facts_of
from gradinv.metrics.records.record import Record
from gradinv.metrics.records.samples import Sample, samples_of
from gradinv.metrics.records.settings import granted, slug, title, varying, wrap_key

BEST = "best control"
_SHOWN_UP_TO = 60.0  # dB: exact images, which count as 100, are what is left at the right edge


def draw_recovery(records: Sequence[Record], out_dir: Path) -> list[Path]:
    """Draw `recovery-*` for each setting in which an attack has values, as PNG and PDF with the CSV beside it."""
    groups: dict[tuple[Any, ...], list[Sample]] = {}
    for sample in samples_of(records, "records"):
        groups.setdefault(sample.place[1:], []).append(sample)
    also = varying(group[0].setting for group in groups.values())
    paths: list[Path] = []
    with drawing():
        for samples in groups.values():
            metrics = [name for name in STATED if any(name in one.values and not one.is_control for one in samples)]
            if metrics:
                stem = out_dir / f"recovery-{slug(samples[0].setting, also)}"
                paths += save(_figure(samples, metrics, title(samples[0].setting, also)), stem)
                paths.append(write_table(recovery_table(samples, metrics), stem))
    return paths


def recovery_table(samples: Sequence[Sample], metrics: Sequence[str]) -> pd.DataFrame:
    """The figure's numbers: `kind` is `curve` for a step, `band` for the controls' envelope, `stated` with interval."""
    rows: list[dict[str, Any]] = []
    for metric in metrics:
        facts = _facts(metric)
        for sample in (one for one in samples if one.values.get(metric)):
            own = {"metric": metric, "key": sample.key, "is_control": str(sample.is_control).lower()}
            rows += _steps(own | {"kind": "curve"}, curves_of([sample], metric)[sample.key])
            for threshold in STATED[metric]:
                found = share_better(sample.values[metric], threshold, facts)
                bounds = {"low": found.low, "high": found.high, "n_batches": found.n}
                rows.append({**own, "kind": "stated", "threshold": threshold, "share": found.mean, **bounds})
        controls = list(curves_of([one for one in samples if one.is_control], metric).values())
        if controls:
            for key, curve in zip(("lowest control", BEST), envelope(controls, facts), strict=True):
                rows += _steps({"metric": metric, "key": key, "is_control": "true", "kind": "band"}, curve)
    names = ["metric", "key", "is_control", "kind", "threshold", "share", "low", "high", "n_batches"]
    return pd.DataFrame(rows, columns=names).astype({"n_batches": "Int64"})


def _steps(own: dict[str, Any], curve: Recovery) -> Iterator[dict[str, Any]]:
    for threshold, share in zip(curve.thresholds, curve.shares, strict=True):
        yield {**own, "threshold": threshold, "share": share}


def _facts(metric: str) -> Facts:
    facts = facts_of(metric)
    assert facts is not None, metric  # every stated metric is one of ours
    return facts


def _figure(samples: Sequence[Sample], metrics: Sequence[str], heading: str) -> Figure:
    attacks = [sample for sample in samples if not sample.is_control]
    controls = [sample for sample in samples if sample.is_control]
    figure = Figure(figsize=(4.75 * len(metrics), 4.6 + 0.05 * len(attacks)), layout="constrained")
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axis, metric in zip(axes, metrics, strict=True):
        _panel(axis, metric, attacks, controls)
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    figure.suptitle(
        f"How many images are recovered how well?\n{heading}\n{granted(samples[0].setting)}\n"
        "Share of the images better than a threshold; at the dotted thresholds with its 95 % interval.\n"
        "Grey band: the controls, which never see the true gradient; its edge is the best of them at each threshold.",
        fontsize=9,
    )
    return figure


def _panel(axis: Axes, metric: str, attacks: Sequence[Sample], controls: Sequence[Sample]) -> None:
    facts = _facts(metric)
    known, grey = curves_of(attacks, metric), list(curves_of(controls, metric).values())
    low, high = _limits([*known.values(), *grey], facts)
    if grey:
        worst, best = envelope(grey, facts)
        (x, lower), (_, upper) = (_drawn(curve, low, high) for curve in (worst, best))
        axis.fill_between(x, lower, upper, step="post", color=BAND, linewidth=0, label="all controls", zorder=0)
        axis.step(x, upper, where="post", color=DARK_GREY, linestyle="--", linewidth=1.2, label=BEST, zorder=1)
    for threshold in STATED[metric]:
        axis.axvline(threshold, color=DARK_GREY, linestyle=":", linewidth=0.8, zorder=0)
    for index, attack in enumerate(attacks):
        if attack.key in known:
            _curve(axis, index, len(attacks), attack, known[attack.key], metric, (low, high))
    axis.set(xlim=(low, high), ylim=(-0.03, 1.03), ylabel="share of images better")
    axis.set_xlabel(f"{facts.title}{f' ({facts.unit})' if facts.unit else ''} threshold")


def _curve(
    axis: Axes, index: int, of: int, attack: Sample, curve: Recovery, metric: str, limits: tuple[float, float]
) -> None:
    """One attack's steps, and its intervals a little beside the stated thresholds, so that none hides another."""
    color, marker = look(index)
    axis.step(*_drawn(curve, *limits), where="post", color=color, label=wrap_key(attack.key, 34))
    shift = 0.012 * (limits[1] - limits[0]) * (index - (of - 1) / 2)
    for threshold in STATED[metric]:
        found = share_better(attack.values[metric], threshold, _facts(metric))
        errors = [[max(0.0, found.mean - found.low)], [max(0.0, found.high - found.mean)]]
        axis.errorbar([threshold + shift], [found.mean], errors, color=color, marker=marker, capsize=2, elinewidth=1)


def _drawn(curve: Recovery, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """The steps with both edges of the panel; the stated metrics are all better where they are higher."""
    x = np.concatenate([[low], curve.thresholds, [max(high, curve.thresholds[-1])]])
    return x, np.concatenate([[1.0], curve.shares, curve.shares[-1:]])


def _limits(curves: Sequence[Recovery], facts: Facts) -> tuple[float, float]:
    values = np.concatenate([curve.thresholds for curve in curves])
    low, high = float(values.min()), float(values.max())
    if facts.unit == "dB":
        high = min(max(high, *STATED["psnr"]), _SHOWN_UP_TO)
    margin = 0.03 * (high - low) or 1.0
    return low - margin, high + margin
