"""Contrasts: what one term of an attack adds, as paired differences between two keys of the same setting."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gradinv.metrics.boards.columns import SETTING
from gradinv.metrics.comparison.compare import Comparison, adjusted, compare
from gradinv.metrics.images.facts import Facts, facts_of
from gradinv.metrics.records.samples import Sample, controls_for

METRICS_COMPARED = ("psnr", "ssim", "lpips_alex", "lpips_vgg", "gmsd", "fft2d")


@dataclass(frozen=True)
class Contrast:
    """`attack` against `against`, two keys; `name` says in words what the difference is."""

    name: str
    attack: str
    against: str


@dataclass(frozen=True)
class Contrasted:
    """A contrast in one setting, metric by metric, with the samples that it compares.

    `blind` is the same contrast of the two attacks' controls `other_gradient`: what the term adds where the gradient
    says nothing of the images. Empty where these were not run.
    """

    contrast: Contrast
    attack: Sample
    against: Sample
    found: tuple[Comparison, ...]
    blind: tuple[Comparison, ...]

    def on(self, metric: str) -> Comparison | None:
        """The comparison on one metric; None where a side lacks it."""
        return _on(metric, self.found)

    def blind_on(self, metric: str) -> Comparison | None:
        """The controls' comparison on one metric; None where they lack it or were not run."""
        return _on(metric, self.blind)


def _on(metric: str, found: Iterable[Comparison]) -> Comparison | None:
    return next((one for one in found if one.metric == metric), None)


def contrasted(samples: Sequence[Sample], contrasts: Iterable[Contrast]) -> list[Contrasted]:
    """Every contrast in every setting in which both its keys have values.

    p-values are adjusted by Holm's rule over all contrasts and metrics of one setting.
    """
    attacks = [sample for sample in samples if not sample.is_control and sample.values]
    pairs = [
        (contrast, own, other)
        for contrast in contrasts
        for own in attacks
        for other in attacks
        if (own.key, other.key) == (contrast.attack, contrast.against) and own.place[1:] == other.place[1:]
    ]
    result = []
    for place in dict.fromkeys(own.place[1:] for _, own, _ in pairs):
        here = [pair for pair in pairs if pair[1].place[1:] == place]
        found = [_compared(own, other) for _, own, other in here]
        corrected = iter(adjusted([one for each in found for one in each]))
        result += [
            Contrasted(*pair, tuple(next(corrected) for _ in each), _blind(pair[1], pair[2], samples))
            for pair, each in zip(here, found, strict=True)
        ]
    return result


def _blind(own: Sample, other: Sample, samples: Sequence[Sample]) -> tuple[Comparison, ...]:
    """The two attacks' controls `other_gradient`, compared."""
    controls = [controls_for(attack, samples).get("other_gradient") for attack in (own, other)]
    ours, theirs = controls
    return () if ours is None or theirs is None else tuple(_compared(ours, theirs))


def _compared(own: Sample, other: Sample) -> list[Comparison]:
    facts: dict[str, Facts | None] = {metric: facts_of(metric) for metric in METRICS_COMPARED}
    both = {m: s for m, s in facts.items() if s is not None and m in own.values and m in other.values}
    found = [compare([own.values[m]], [other.values[m]], metric=m, facts=s) for m, s in both.items()]
    return [one for one in found if one is not None]


def contrast_table(found: Iterable[Contrasted]) -> pd.DataFrame:
    """One row per contrast, setting and metric.

    `gain` is the mean over batches of the paired difference, positive where `attack` is better whatever the metric,
    [`gain_low`, `gain_high`] its 95 % interval, `p_adjusted` Holm's over all rows of a setting. `blind_gain` is the
    same difference between the controls `other_gradient` of the two: a gain as large there did not come from the
    gradient.
    """
    rows = [_row(each, one) for each in found for one in each.found]
    return pd.DataFrame(rows)


def _row(each: Contrasted, one: Comparison) -> dict[str, Any]:
    names = {"contrast": each.contrast.name, "attack": each.contrast.attack, "against": each.contrast.against}
    return names | {name: each.attack.setting[name] for name in SETTING} | {
        "metric": one.metric,
        "n_batches": one.n,
        "n_images": one.images,
        "attack_mean": one.ours,
        "against_mean": one.theirs,
        "gain": one.gain,
        "gain_low": one.low,
        "gain_high": one.high,
        "won": one.won,
        "p": one.p,
        "p_adjusted": one.adjusted,
        "outcome": one.outcome,
        "blind_gain": blind.gain if (blind := each.blind_on(one.metric)) else None,
        "blind_gain_low": blind.low if blind else None,
        "blind_gain_high": blind.high if blind else None,
        "blind_n_batches": blind.n if blind else None,
    }  # fmt: skip
