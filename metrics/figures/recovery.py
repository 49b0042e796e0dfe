"""The figure of recovery curves: how many images each attack recovers how well, beside the best of its controls."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.figures.presentation import canvas, head, key_below, look_of, name_of, panels_in_a_row
from gradinv.metrics.figures.skeleton import Drawing, Scene, scenes
from gradinv.metrics.figures.style import BAND, BEST_CONTROL, DARK_GREY, error_bars
from gradinv.metrics.images import Facts, facts_of
from gradinv.metrics.records import Record, Sample, granted, sample_of
from gradinv.metrics.statistics import Recovery, envelope, recovery, share_better

STATED: Mapping[str, tuple[float, ...]] = {"psnr": (20.0, 30.0), "ssim": (0.5, 0.9)}
"""Thresholds at which a share is stated with its interval, by metric; of both metrics higher values are better."""
_SHOWN_UP_TO = 60.0  # dB: exact images, which count as 100, are what is left at the right edge


def recovery_drawings(records: Sequence[Record]) -> Iterator[Drawing]:
    """Draw `recovery-*` for each setting in which an attack has values, as PNG and PDF with the CSV beside it."""
    return _drawings(scenes(records, lambda trial: trial.is_scored))


def _drawings(shown: Iterable[Scene]) -> Iterator[Drawing]:
    for scene in shown:
        samples = [sample_of(trials, "records") for trials in scene.trials.values()]
        attacks = [sample for sample in samples if not sample.is_control]
        metrics = [metric for metric in STATED if any(metric in attack.values for attack in attacks)]
        if metrics:
            table = recovery_table(samples, metrics)
            yield Drawing(f"recovery-{scene.name}", partial(_figure, scene, samples, metrics), table)


def curves_of(samples: Iterable[Sample], metric: str) -> dict[str, Recovery]:
    """Key -> curve, for the samples that have values of the metric, which is one of ours."""
    values = {sample.key: sample.values.get(metric) for sample in samples}
    return {key: recovery(measured.values(), _facts(metric)) for key, measured in values.items() if measured}


def recovery_table(samples: Sequence[Sample], metrics: Sequence[str]) -> pd.DataFrame:
    """The figure's numbers: `kind` is `curve` for a step, `band` for the controls' envelope, `stated` with interval."""
    rows = [row for metric in metrics for row in _metric_rows(samples, metric)]
    names = ["metric", "key", "is_control", "kind", "threshold", "share", "low", "high", "n_batches"]
    return pd.DataFrame(rows, columns=names).astype({"n_batches": "Int64"})


def _metric_rows(samples: Sequence[Sample], metric: str) -> Iterator[dict[str, Any]]:
    """The rows of one metric: sample by sample its steps and what is stated of it, then the band of the controls."""
    facts = _facts(metric)
    for sample in samples:
        values = sample.values.get(metric)
        if not values:
            continue
        names = {"metric": metric, "key": sample.key, "is_control": str(sample.is_control).lower()}
        yield from _steps(names | {"kind": "curve"}, recovery(values.values(), facts))
        for threshold in STATED[metric]:
            share = share_better(values, threshold, facts)
            bounds = {"low": share.low, "high": share.high, "n_batches": share.n}
            yield {**names, "kind": "stated", "threshold": threshold, "share": share.mean, **bounds}
    controls = list(curves_of([sample for sample in samples if sample.is_control], metric).values())
    if controls:
        for key, curve in zip(("lowest control", BEST_CONTROL), envelope(controls, facts), strict=True):
            yield from _steps({"metric": metric, "key": key, "is_control": "true", "kind": "band"}, curve)


def _steps(names: Mapping[str, Any], curve: Recovery) -> Iterator[dict[str, Any]]:
    for threshold, share in zip(curve.thresholds, curve.shares, strict=True):
        yield {**names, "threshold": threshold, "share": share}


def _facts(metric: str) -> Facts:
    facts = facts_of(metric)
    assert facts is not None, metric  # every stated metric is one of ours
    return facts


def _figure(scene: Scene, samples: Sequence[Sample], metrics: Sequence[str]) -> Figure:
    attacks = [sample for sample in samples if not sample.is_control]
    controls = [sample for sample in samples if sample.is_control]
    columns = panels_in_a_row(len(metrics), 4.75)
    rows = -(-len(metrics) // columns)
    figure = canvas(4.75 * columns, rows * 4.6 + 0.05 * len(attacks))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, metric in zip(axes, metrics, strict=True):
        _panel(axis, metric, attacks, controls)
    # By name: an attack may have values in one panel only.
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    key_below(figure, handles.values(), handles.keys(), columns=3)
    head(
        figure,
        f"How many images are recovered how well?\n{scene.title}\n{granted(scene.setting)}\n"
        "Share of the images better than a threshold; at the dotted thresholds with its 95 % interval.\n"
        "Grey band: the controls, which never see the true gradient; its edge is the best of them at each threshold.",
        scene.absent,
    )
    return figure


def _panel(axis: Axes, metric: str, attacks: Sequence[Sample], controls: Sequence[Sample]) -> None:
    facts = _facts(metric)
    attack_curves, control_curves = curves_of(attacks, metric), list(curves_of(controls, metric).values())
    low, high = _limits([*attack_curves.values(), *control_curves], facts)
    if control_curves:
        (x, worst), (_, best) = (_drawn(curve, low, high) for curve in envelope(control_curves, facts))
        # `post`: a share holds from its threshold up to the next one.
        axis.fill_between(x, worst, best, step="post", color=BAND, linewidth=0, label="all controls", zorder=0)
        axis.step(x, best, where="post", color=DARK_GREY, linestyle="--", linewidth=1.2, label=BEST_CONTROL, zorder=1)
    for threshold in STATED[metric]:
        axis.axvline(threshold, color=DARK_GREY, linestyle=":", linewidth=0.8, zorder=0)
    for index, attack in enumerate(attacks):
        if attack.key in attack_curves:
            color = look_of(attack.key).color
            axis.step(
                *_drawn(attack_curves[attack.key], low, high), where="post", color=color, label=name_of(attack.key, 34)
            )
            # A little beside the thresholds, so that no interval hides another.
            shift = 0.012 * (high - low) * (index - (len(attacks) - 1) / 2)
            _stated(axis, shift, attack, metric)
    axis.set(xlim=(low, high), ylim=(-0.03, 1.03), ylabel="share of images better")
    axis.set_xlabel(f"{facts.heading} threshold")


def _stated(axis: Axes, shift: float, attack: Sample, metric: str) -> None:
    """One attack's shares at the stated thresholds, with their intervals."""
    color, marker = look_of(attack.key)
    for threshold in STATED[metric]:
        share = share_better(attack.values[metric], threshold, _facts(metric))
        errors = error_bars([share])
        axis.errorbar([threshold + shift], [share.mean], errors, color=color, marker=marker, capsize=2, elinewidth=1)


def _drawn(curve: Recovery, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """The steps with both edges of the panel; the stated metrics are all better where they are higher."""
    # Without the edges a curve would begin and end in mid-air, at its first and last step.
    x = np.concatenate([[low], curve.thresholds, [max(high, curve.thresholds[-1])]])
    return x, np.concatenate([[1.0], curve.shares, curve.shares[-1:]])


def _limits(curves: Sequence[Recovery], facts: Facts) -> tuple[float, float]:
    values = np.concatenate([curve.thresholds for curve in curves])
    low, high = float(values.min()), float(values.max())
    if facts.unit == "dB":
        high = min(max(high, *STATED["psnr"]), _SHOWN_UP_TO)
    # One value alone has no range to take a share of.
    margin = 0.03 * (high - low) or 1.0
    return low - margin, high + margin
