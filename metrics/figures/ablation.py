"""The figures of an ablation: what each term adds, and whether the agents know where they guess."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gradinv.metrics.comparison.contrasts import Contrast, Contrasted, contrast_table, contrasted
from gradinv.metrics.figures.agreement import Agreement, agreement_table, agreements
from gradinv.metrics.figures.style import BAND, DARK_GREY, GREY, drawing, look, save, write_table
from gradinv.metrics.records.record import Record
from gradinv.metrics.records.samples import Sample, controls_for, samples_of
from gradinv.metrics.records.settings import granted, setting_of, title, unusual, wrap_key
from gradinv.metrics.statistics.intervals import interval
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_ROW, _HEAD = 0.42, 2.1  # inches


def draw_ablation(records: Sequence[Record], contrasts: Sequence[Contrast], out_dir: Path) -> list[Path]:
    """Draw `ablation-N` for each setting with contrasts and `agreement`, each with the CSV it was drawn from.

    Returns the files; none where the records hold neither.
    """
    samples = samples_of(records, "records")
    found = contrasted(samples, contrasts)
    paths: list[Path] = []
    with drawing():
        places = list(dict.fromkeys(each.attack.place[1:] for each in found))
        for number, place in enumerate(places, start=1):
            here = [each for each in found if each.attack.place[1:] == place]
            paths += save(_ablation(here, samples), out_dir / f"ablation-{number}")
            paths.append(write_table(contrast_table(here), out_dir / f"ablation-{number}"))
        agreed = [one for one in agreements(records) if not one.cell.is_control]
        if agreed:
            paths += save(_agreement(agreed), out_dir / "agreement")
            paths.append(write_table(agreement_table(agreed), out_dir / "agreement"))
    return paths


def _ablation(here: Sequence[Contrasted], samples: Sequence[Sample]) -> Figure:
    """Left: every attack of the contrasts with its controls; right: the paired differences."""
    keys = {one.key: one for each in here for one in (each.against, each.attack)}
    rows = max(len(keys), len(here))
    figure = Figure(figsize=(11, _HEAD + _ROW * rows), layout="constrained")
    left, right = figure.subplots(1, 2)
    _levels(left, list(keys.values()), samples)
    _differences(right, here)
    handles = dict(zip(*reversed(left.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5)
    setting: Any = here[0].attack.setting
    figure.suptitle(
        f"What does each term add?\n{title(setting)} · {setting['budget']} evaluations\n{granted(setting)}\n"
        "Mean over batches with its 95 % interval; differences are paired by image, coloured where p ≤ 0.05 after "
        "Holm's correction.\nControls never see the gradient; a cross is the same difference between the controls "
        "other_gradient: where it is as large, the term adds nothing from the gradient.",
        fontsize=9,
    )
    return figure


def _levels(axis: Axes, attacks: Sequence[Sample], samples: Sequence[Sample]) -> None:
    marks = {"prior_only": "|", "other_gradient": "x", "noise_gradient": "+"}
    for row, attack in enumerate(attacks):
        found = interval(list(attack.means("psnr").values()))
        color, marker = look(row)
        errors = [[found.mean - found.low], [found.high - found.mean]]
        axis.errorbar([found.mean], [row], xerr=errors, color=color, marker=marker, capsize=2)
        controls = {name: sample for name, sample in controls_for(attack, samples).items() if name in marks}
        for name, control in controls.items():
            mean = interval(list(control.means("psnr").values())).mean
            axis.plot([mean], [row], color=GREY, marker=marks[name], markersize=9, linestyle="none", label=name)
    shared = {
        name: interval(list(sample.means("psnr").values())).mean
        for name, sample in controls_for(attacks[0], samples).items()
        if name in ("same_class", "mean_image")
    }
    for name, mean in shared.items():
        axis.axvline(mean, color=DARK_GREY, linestyle={"same_class": ":", "mean_image": "--"}[name], label=name)
    axis.set_yticks(range(len(attacks)), [wrap_key(attack.key, 38) for attack in attacks], fontsize=7)
    axis.set_ylim(len(attacks) - 0.5, -0.5)
    axis.set_xlabel("PSNR (dB), higher is better")


def _differences(axis: Axes, here: Sequence[Contrasted]) -> None:
    axis.axvline(0, color=DARK_GREY, linewidth=1)
    for row, each in enumerate(here):
        one = each.on("psnr")
        if one is None:
            continue
        sure = one.outcome in ("better", "worse")
        color = look(0 if one.gain > 0 else 1).color if sure else GREY
        errors = [[one.gain - one.low], [one.high - one.gain]]
        axis.barh([row], [one.gain], height=0.6, color=color if sure else BAND)
        axis.errorbar([one.gain], [row], xerr=errors, color=DARK_GREY, capsize=3, linestyle="none")
        blind = each.blind_on("psnr")
        if blind is not None:
            axis.plot([blind.gain], [row], color="black", marker="x", markersize=8, linestyle="none")
    axis.set_yticks(range(len(here)), [f"{each.contrast.name} (n = {each.found[0].n})" for each in here], fontsize=8)
    axis.set_ylim(len(here) - 0.5, -0.5)
    axis.set_xlabel("paired difference in PSNR (dB)")


def _agreement(found: Sequence[Agreement]) -> Figure:
    figure = Figure(figsize=(max(4.5, 3.6 * len(found)), 4.2), layout="constrained")
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    for index, (axis, one) in enumerate(zip(axes, found, strict=True)):
        axis.plot(one.spread, one.error, linestyle="none", marker=look(index).marker, color=look(index).color)
        setting = setting_of(one.cell)
        named = "".join(f", {name} {setting[name]}" for name in unusual(setting))
        axis.set_title(
            f"{wrap_key(one.cell.key, 34)}\nbatch-norm statistics {one.cell.bn_statistics}{named}\n"
            f"Spearman {one.rho:.2f} [{one.low:.2f}, {one.high:.2f}], {one.n_batches} batches",
            loc="left",
            fontsize=8,
        )
        axis.set(xlabel="spread of the agents (pixel value)", ylabel="mean squared error" if index == 0 else "")
        axis.set_yscale("log" if np.ptp(one.error) else "linear")
    figure.suptitle("Do the agents disagree where they are wrong?  One point an image", fontsize=9)
    return figure
