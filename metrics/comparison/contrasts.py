"""Contrasts: what one term of an attack adds, as paired differences between two keys of the same setting."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from gradinv.metrics.comparison.compare import Comparison, adjusted, compare_samples
from gradinv.metrics.images import board_metrics
from gradinv.metrics.records import Sample, controls_for, setting_of


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
    comparisons: tuple[Comparison, ...]
    blind: tuple[Comparison, ...]

    def on(self, metric: str) -> Comparison | None:
        """The comparison on one metric; None where a side lacks it."""
        return _on(metric, self.comparisons)

    def blind_on(self, metric: str) -> Comparison | None:
        """The controls' comparison on one metric; None where they lack it or were not run."""
        return _on(metric, self.blind)


def _on(metric: str, comparisons: Iterable[Comparison]) -> Comparison | None:
    return next((comparison for comparison in comparisons if comparison.metric == metric), None)


def contrasted(samples: Sequence[Sample], contrasts: Iterable[Contrast]) -> list[Contrasted]:
    """Every contrast in every setting in which both its keys have values.

    p-values are adjusted by Holm's rule over all contrasts and metrics of one setting.
    """
    # One family a setting: claims of two settings are read apart, those of one are read together.
    families: dict[tuple[Any, ...], list[Contrasted]] = {}
    for contrast in contrasts:
        for attack, against in _pairs(contrast, samples):
            family = families.setdefault(attack.cell.setting, [])
            family.append(_contrasted(contrast, attack, against, samples))
    return [contrasted for family in families.values() for contrasted in _adjusted(family)]


def _pairs(contrast: Contrast, samples: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """The samples of both keys, in every setting where both have values."""
    # The budget is a part of the setting, so that no contrast compares unequal ones.
    scored = [sample for sample in samples if not sample.is_control and sample.values]
    attacks, baselines = ([s for s in scored if s.key == key] for key in (contrast.attack, contrast.against))
    return [
        (attack, baseline)
        for attack in attacks
        for baseline in baselines
        if attack.cell.setting == baseline.cell.setting
    ]


def _contrasted(contrast: Contrast, attack: Sample, against: Sample, samples: Sequence[Sample]) -> Contrasted:
    """One contrast in one setting, its p-values not yet adjusted."""
    blind = [controls_for(sample, samples).get("other_gradient") for sample in (attack, against)]
    blind_attack, blind_against = blind
    blind_comparisons = [] if blind_attack is None or blind_against is None else _compared(blind_attack, blind_against)
    return Contrasted(contrast, attack, against, tuple(_compared(attack, against)), tuple(blind_comparisons))


def _compared(attack: Sample, against: Sample) -> list[Comparison]:
    # Per image only: what is measured once a batch, as the share of labels, is none of a term's doing.
    comparisons = (compare_samples([attack], [against], metric) for metric in board_metrics("image"))
    return [comparison for comparison in comparisons if comparison is not None]


def _adjusted(family: Sequence[Contrasted]) -> list[Contrasted]:
    values = iter(adjusted([comparison for member in family for comparison in member.comparisons]))
    return [replace(member, comparisons=tuple(next(values) for _ in member.comparisons)) for member in family]


def contrast_table(contrasts: Iterable[Contrasted]) -> pd.DataFrame:
    """One row per contrast, setting and metric.

    `gain` is the mean over batches of the paired difference, positive where `attack` is better whatever the metric,
    [`gain_low`, `gain_high`] its 95 % interval, `p_adjusted` Holm's over all rows of a setting. `blind_gain` is the
    same difference between the controls `other_gradient` of the two: a gain as large there did not come from the
    gradient.
    """
    rows = [_row(contrasted, comparison) for contrasted in contrasts for comparison in contrasted.comparisons]
    return pd.DataFrame(rows)


def _row(contrasted: Contrasted, comparison: Comparison) -> dict[str, Any]:
    contrast, blind = contrasted.contrast, contrasted.blind_on(comparison.metric)
    return {
        "contrast": contrast.name,
        "attack": contrast.attack,
        "against": contrast.against,
        **setting_of(contrasted.attack.cell),
        "metric": comparison.metric,
        "n_batches": comparison.n,
        "n_images": comparison.images,
        "attack_mean": comparison.attack_mean,
        "against_mean": comparison.baseline_mean,
        "gain": comparison.gain,
        "gain_low": comparison.low,
        "gain_high": comparison.high,
        "won": comparison.won,
        "p": comparison.p,
        "p_adjusted": comparison.adjusted,
        "outcome": comparison.outcome,
        "blind_gain": blind.gain if blind else None,
        "blind_gain_low": blind.low if blind else None,
        "blind_gain_high": blind.high if blind else None,
        "blind_n_batches": blind.n if blind else None,
    }
