"""The fields of a row that hold its verdict: gains over the controls, what leaks, ranks, shares recovered."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from gradinv.metrics.boards.columns import THRESHOLDS
from gradinv.metrics.images import is_identified, judge_of, rank_of
from gradinv.metrics.leakage import Leakage, joined, leakage_of, sentence
from gradinv.metrics.records import Cell, ImageScore, Record, sample_of
from gradinv.metrics.statistics import interval_of_shares
from gradinv.metrics.typesetting import state_in_words

Fields = dict[str, Any]
"""Column -> value of one row, before the columns give it a type."""


def verdict_fields(trials: Sequence[Record], controls: Mapping[Cell, Sequence[Record]], notes: list[str]) -> Fields:
    """What leaks and from where, the gains over the controls, and a note for each control that has no values."""
    samples = {control.attack: sample_of(runs, "records") for control, runs in controls.items()}
    attack = sample_of(trials, "records")
    if not attack.values:
        return {}
    notes += [
        f"not compared with {control.attack} ({state_in_words(runs[0])})"
        for control, runs in controls.items()
        if not samples[control.attack].values
    ]
    leakage = leakage_of(attack, samples)
    if not leakage.gains:
        notes.append("no control has values for these batches")
        return {}
    n_batches = sum(trial.is_scored for trial in trials)
    notes += _too_few(leakage, n_batches)
    return gain_fields(leakage) | leak_fields(leakage) | {"verdict": sentence(leakage)}


def leak_fields(leakage: Leakage) -> Fields:
    """The respects that leak, and from where, in the words of the columns."""
    return {
        "leaks": joined(leakage.leaks),
        "works": "true" if leakage.gradient else "false",
        "from_gradient": joined(leakage.gradient),
        "from_statistics": joined(leakage.statistics),
        "from_labels": joined(leakage.labels),
        "from_prior": joined(leakage.prior),
    }


def _too_few(leakage: Leakage, n_batches: int) -> list[str]:
    """Notes where the verdict rests on fewer batches than the row has."""
    fewest = min(test.gain.n for test in leakage.gains.values())
    if fewest < 2:
        return ["too few batches to say what leaks"]
    return [f"gain over {fewest} of {n_batches} batches"] * (fewest < n_batches)


def gain_fields(leakage: Leakage) -> Fields:
    """The gain in each respect over the control that comes closest."""
    fields: Fields = {}
    for respect, tested in leakage.gains.items():
        prefix = {"pixels": "psnr"}.get(respect, respect)
        fields["best_control" if respect == "pixels" else f"{respect}_control"] = tested.gain.control
        fields |= {f"{prefix}_gain_{part}": getattr(tested.gain, part) for part in ("mean", "low", "high")}
    if "identity" in leakage.gains:
        fields["identity_judge"] = judge_of(leakage.gains["identity"].metric)
    return fields


def rank_fields(metric: str, trials: Sequence[Record]) -> Fields:
    """What the ranks of a judge say beyond their mean: shares in the first places, and their median."""
    if not judge_of(metric):
        return {}  # the PSNR of an exact image is infinite, and is no rank
    ranks = [
        rank_of(image.metrics[metric], image.details["identity_pool"])
        for trial in trials
        for image in trial.images
        if metric in image.metrics and "identity_pool" in image.details
    ]
    if not ranks:
        return {}
    return {
        f"{metric}_top1": sum(rank <= 1 for rank in ranks) / len(ranks),
        f"{metric}_top10": sum(rank <= 10 for rank in ranks) / len(ranks),
        f"{metric}_median": median(ranks),
    }


def recovered_fields(trials: Sequence[Record]) -> Fields:
    """Shares of images recovered above the stated thresholds, and identified, with 95 % intervals over batches."""
    batches = [trial.images for trial in trials if trial.is_scored and trial.images]
    fields: Fields = {}
    for threshold in THRESHOLDS:
        values = [
            [image.metrics["psnr"] > threshold for image in batch if "psnr" in image.metrics] for batch in batches
        ]
        fields |= _share_fields(f"psnr{threshold}", values)
    looked = [[first for image in batch if (first := _is_first(image)) is not None] for batch in batches]
    return fields | _share_fields("identified", looked)


def _is_first(image: ImageScore) -> bool | None:
    """Whether every judge that looked names the original first; None where none looked."""
    judged = [value for name, value in image.metrics.items() if judge_of(name)]
    if not judged or "identity_pool" not in image.details:
        return None
    return is_identified(judged)


def _share_fields(name: str, batches: Sequence[Sequence[bool]]) -> Fields:
    shares = [sum(values) / len(values) for values in batches if values]
    if not shares:
        return {}
    share = interval_of_shares(shares)
    return {f"{name}_share": share.mean, f"{name}_low": share.low, f"{name}_high": share.high}


def pool_fields(trials: Sequence[Record]) -> Fields:
    """The size of the pool; the largest where some originals have fewer rivals."""
    details = [image.details for trial in trials for image in trial.images]
    sizes = [values["identity_pool"] for values in details if "identity_pool" in values]
    return {"identity_pool": int(max(sizes))} if sizes else {}
