"""The figures of an ablation: what each term adds, and whether the agents know where they guess."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradinv.metrics.comparison import (
    Agreement,
    Contrast,
    Contrasted,
    agreement_table,
    agreements,
    contrast_table,
    contrasted,
)
from gradinv.metrics.figures.presentation import (
    canvas,
    head,
    is_narrow,
    key_below,
    look,
    look_of,
    name_of,
    panels_in_a_row,
    two_lines,
    width_asked,
)
from gradinv.metrics.figures.skeleton import Drawing
from gradinv.metrics.figures.small_panels import few_ticks
from gradinv.metrics.figures.style import BAND, DARK_GREY, GREY, error_bars
from gradinv.metrics.records import Record, Sample, controls_for, granted, samples_of, setting_of, title, unusual
from gradinv.metrics.statistics import Interval, metric_interval

_ROW, _HEAD = 0.42, 2.1  # inches
_PANELS_IN_A_ROW = 3  # of agreement
_MARKS = {"prior_only": "|", "other_gradient": "x", "noise_gradient": "+"}
"""Controls of one attack: a mark on its line."""
_LINES: dict[str, Any] = {"same_class": ":", "mean_image": "--"}
"""Controls of every attack: a line through all."""


def ablation_drawings(records: Sequence[Record], contrasts: Sequence[Contrast]) -> Iterator[Drawing]:
    """Draw `ablation-N` for each setting with contrasts and `agreement`, each with the CSV it was drawn from.

    Returns the files; none where the records hold neither.
    """
    return _drawings(records, contrasts)


def _drawings(records: Sequence[Record], contrasts: Sequence[Contrast]) -> Iterator[Drawing]:
    samples = samples_of(records, "records")
    settings: dict[tuple[Any, ...], list[Contrasted]] = {}
    for result in contrasted(samples, contrasts):
        settings.setdefault(result.attack.cell.setting, []).append(result)
    # Numbered, not named: a suite of contrasts varies in fields that would make names of a hundred characters.
    for number, results in enumerate(settings.values(), start=1):
        yield Drawing(f"ablation-{number}", partial(_ablation, results, samples), contrast_table(results))
    agreed = [agreement for agreement in agreements(records) if not agreement.cell.is_control]
    if agreed:
        yield Drawing("agreement", partial(_agreement_figure, agreed), agreement_table(agreed))


def _ablation(results: Sequence[Contrasted], samples: Sequence[Sample]) -> Figure:
    """Left: every attack of the contrasts with its controls; right: the paired differences."""
    attacks = {sample.key: sample for result in results for sample in (result.against, result.attack)}
    columns = panels_in_a_row(2, 5.5)
    rows = max(len(attacks), len(results)) if columns == 2 else len(attacks) + len(results)
    figure = canvas(5.5 * columns, _HEAD + _ROW * rows, lowest=1.0)
    left, right = figure.subplots(2 // columns, columns).flat
    _levels(left, list(attacks.values()), samples)
    _differences(right, results)
    # By name: every attack marks its own controls, and the legend needs each mark once.
    handles = dict(zip(*reversed(left.get_legend_handles_labels()), strict=True))
    key_below(figure, handles.values(), handles.keys(), columns=5)
    setting = setting_of(results[0].attack.cell)
    head(
        figure,
        f"What does each term add?\n{title(setting)} · {setting['budget']} evaluations\n{granted(setting)}\n"
        "Mean over batches with its 95 % interval; differences are paired by image, coloured where p ≤ 0.05 after "
        "Holm's correction.\nControls never see the gradient; a cross is the same difference between the controls "
        "other_gradient: where it is as large, the term adds nothing from the gradient.",
    )
    return figure


def _psnr(sample: Sample) -> Interval:
    return metric_interval("psnr", list(sample.means("psnr").values()))


def _levels(axis: Axes, attacks: Sequence[Sample], samples: Sequence[Sample]) -> None:
    for row, attack in enumerate(attacks):
        psnr, (color, marker) = _psnr(attack), look_of(attack.key)
        axis.errorbar([psnr.mean], [row], xerr=error_bars([psnr]), color=color, marker=marker, capsize=2)
        for name, control in controls_for(attack, samples).items():
            if name in _MARKS:
                mean, mark = _psnr(control).mean, _MARKS[name]
                axis.plot([mean], [row], color=GREY, marker=mark, markersize=9, linestyle="none", label=name)
    for name, control in controls_for(attacks[0], samples).items():
        if name in _LINES:
            axis.axvline(_psnr(control).mean, color=DARK_GREY, linestyle=_LINES[name], label=name)
    names = [name_of(attack.key, 24 if is_narrow() else 38) for attack in attacks]
    axis.set_yticks(range(len(attacks)), names, fontsize=7)
    # Downwards, so that the first attack stands on top.
    axis.set_ylim(len(attacks) - 0.5, -0.5)
    axis.set_xlabel(two_lines("PSNR (dB)", "higher is better"))


def _differences(axis: Axes, results: Sequence[Contrasted]) -> None:
    axis.axvline(0, color=DARK_GREY, linewidth=1)
    for row, result in enumerate(results):
        _difference(axis, row, result)
    between = " " if width_asked() is None else "\n"
    names = [f"{result.contrast.name}{between}(n = {result.comparisons[0].n})" for result in results]
    axis.set_yticks(range(len(results)), names, fontsize=8 if width_asked() is None else 7)
    axis.set_ylim(len(results) - 0.5, -0.5)
    axis.set_xlabel(f"paired difference{between}in PSNR (dB)")


def _difference(axis: Axes, row: int, result: Contrasted) -> None:
    """One bar with its interval, grey where nothing is proven, and a cross at the controls' difference."""
    psnr, blind = result.on("psnr"), result.blind_on("psnr")
    if psnr is None:
        return
    proven = psnr.outcome in ("better", "worse")
    # Colour is a claim: a difference that is not proven has none.
    color = look(0 if psnr.gain > 0 else 1).color if proven else BAND
    errors = error_bars([Interval(psnr.gain, psnr.low, psnr.high, psnr.n)])
    axis.barh([row], [psnr.gain], height=0.6, color=color)
    axis.errorbar([psnr.gain], [row], xerr=errors, color=DARK_GREY, capsize=3, linestyle="none")
    if blind is not None:
        axis.plot([blind.gain], [row], color="black", marker="x", markersize=8, linestyle="none")


def _agreement_figure(of_cells: Sequence[Agreement]) -> Figure:
    """A scatter of error over spread for each cell, one point an image."""
    columns = panels_in_a_row(min(len(of_cells), _PANELS_IN_A_ROW), 4.75)
    rows = -(-len(of_cells) // columns)
    figure = canvas(max(4.5, 3.6 * columns), (4.2 if width_asked() is None else 2.6) * rows + 0.2, lowest=1.0)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[len(of_cells) :]:
        axis.remove()
    for index, (axis, agreement) in enumerate(zip(axes, of_cells, strict=False)):
        color, marker = look_of(agreement.cell.key)
        axis.plot(agreement.spread, agreement.error, linestyle="none", marker=marker, color=color)
        axis.set_title(_agreement_heading(agreement), loc="left", fontsize=8)
        axis.set(
            xlabel="spread of the agents (pixel value)", ylabel="mean squared error" if index % columns == 0 else ""
        )
        # Errors span decades; a single value spans nothing, and a logarithmic axis cannot hold it.
        if np.ptp(agreement.error):
            axis.set_yscale("log")
            few_ticks(axis)
    head(
        figure,
        "Do the agents disagree where they are wrong? One point an image.",
    )
    return figure


def _agreement_heading(agreement: Agreement) -> str:
    setting = setting_of(agreement.cell)
    named = "".join(f", {name} {setting[name]}" for name in unusual(setting))
    return (
        f"{name_of(agreement.cell.key, 34)}\nbatch-norm statistics {agreement.cell.bn_statistics}{named}\n"
        f"Spearman {agreement.rho:.2f} [{agreement.low:.2f}, {agreement.high:.2f}], {agreement.n_batches} batches"
    )
