"""The columns of a leaderboard and of its image table: what each means, its unit, its range, and what is better."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from gradinv.metrics.images import board_metrics, facts_of, judge_of
from gradinv.metrics.records import IDENTITY, SETTING, Column

# 2: a board may lack a setting column that came after it was published; readers take the column's default for it.
# 3: hashes tell rows of different weights, data, sources and engines apart.
# 4: the verdict is over pixels, structure and identity, and says where a leak comes from.
LEADERBOARD_SCHEMA = 5
BUDGET_LEFT = "budget left"
"""How the note of a row begins that says why an attack did not spend its whole budget."""

_IDENTITY = {
    "attack": Column("name of the attack; of the control in a control's row"),
    "preset": Column("preset of the attack; in a control's row the key of the attack it controls, empty: all attacks"),
    "parameters": Column("parameters set by hand, `[name=value,...]`"),
    "tuning": Column("where the hyperparameters come from: paper, suite or tuned:<hash>"),
}

_INFERRED = {
    "label_method": Column("where the attack has its labels from: given, inferred:<rule> or optimised"),
    "uses": Column("what the attack used of what was granted, joined by +"),
}

LETTER = {
    "letter": Column("what that asks of an attacker, a letter of Carletti et al. 2025 below; empty for controls"),
}
"""Boards from before have no such column."""

_COUNTS = {
    "n_batches": Column("scored batches: the n of every interval, unless `notes` says otherwise", "count", 0),
    "n_images": Column("scored images", "count", 0),
    "n_diverged": Column("batches whose attack diverged; scored on the best finite iterate", "count", 0),
    "n_failed": Column("batches without values because of an error or of memory", "count", 0),
    "n_skipped": Column("batches that are impossible here, with the reason in `notes`", "count", 0),
    "state": Column("worst state of the row's trials: done < diverged < skipped < oom < failed"),
    "is_control": Column("whether the row is a control", "true/false"),
}

_IMAGE_HEAD = {
    "key": Column("the attack's key; for a control `NAME of KEY`, or its name where it controls every attack"),
    "is_control": _COUNTS["is_control"],
}
_IMAGE = {
    "batch": Column("repetition: the same number is the same draw in every row of one data set", "count", 0),
    "slot": Column("place of the original in its batch", "count", 0),
    "image": Column("hash of the original"),
    "label": Column("true label of the original", "count", 0),
}
_IMAGE_TAIL = {"state": _COUNTS["state"]}

DETAILS = {
    "agent_spread": Column("standard deviation over the agents, mean over the pixels", "pixel value", 0, 1),
    "identity_pool": Column("photographs that the original was looked for among, itself included", "count", 1),
    "recovered": Column(
        "1 where the reconstruction is the original in every 8-bit pixel, else 0", "share", 0, 1, "higher"
    ),
    "certified": Column(
        "1 where the attack proved, without any original, that the image was in the batch", "share", 0, 1
    ),
    "consensus_psnr": Column("PSNR of the agents' consensus, which is not what is scored", "dB", 0, direction="higher"),
}
"""What some attacks say of an image beside its reconstruction: columns of an image table that has such attacks."""


def _gain_columns(respect: str, measure: str) -> dict[str, Column]:
    """The gain in one respect over the control that comes closest, signed so that more is better."""
    return {
        f"{respect}_control": Column(f"the control that comes closest in {respect}"),
        f"{respect}_gain_mean": Column(f"gain over `{respect}_control` in {measure}", "1", direction="higher"),
        f"{respect}_gain_low": Column("lower 95 % bound of the gain", "1", direction="higher"),
        f"{respect}_gain_high": Column("upper 95 % bound of the gain", "1", direction="higher"),
    }


_CONTROLS = {
    "slot_accuracy_mean": Column("share of images already in their own slot before matching", "share", 0, 1),
    "final_psnr_mean": Column("PSNR of the last iterate, which is not the one returned", "dB", 0, direction="higher"),
    "best_control": Column("the control that comes closest: smallest lower bound of the paired gain"),
    "psnr_gain_mean": Column("PSNR minus that of `best_control`, paired by batch", "dB", direction="higher"),
    "psnr_gain_low": Column("lower 95 % bound of the gain", "dB", direction="higher"),
    "psnr_gain_high": Column("upper 95 % bound of the gain", "dB", direction="higher"),
    **_gain_columns("structure", "`structure`"),
    **_gain_columns("identity", "normalised rank, by the judge that is convinced most"),
    "identity_judge": Column("the judge that decides on identity: convinced most, and seconded by all others"),
    "identity_pool": Column("photographs that originals are looked for among, the original included", "count", 1),
    "works": Column(
        "whether the gradient gave anything away: `from_gradient` names a respect; false for controls", "true/false"
    ),
    "leaks": Column(
        "respects that leak: from the gradient, from granted statistics, or from one of them and not shown which; "
        "`none`; empty: not known"
    ),
    "from_gradient": Column("respects in which the attack beats every control, after Holm's correction"),
    "from_statistics": Column(
        "respects in which `prior_only` beats `no_statistics`, `other_statistics` where it was run, and every control "
        "that shows an image; empty where no statistics of the batch are granted"
    ),
    "from_labels": Column("respects in which `same_class` beats `mean_image`"),
    "from_prior": Column("respects in which the priors alone beat `mean_image`"),
    "verdict": Column("what leaks, and from where, in a sentence; empty for controls"),
}

UTILITY = {
    "update_cosine_mean": Column(
        "cosine of the update as sent and without the defense: what is left of the direction to learn from",
        "1",
        -1,
        1,
        "higher",
    ),
    "update_error_mean": Column("their distance over the length of the latter", "1", 0, direction="lower"),
    "upload_bytes": Column("what a client uploads a round, in its defense's coding", "bytes", 0, direction="lower"),
}
"""What a defense costs the update; boards from before have none of these columns."""

VICTIM = {
    "victim_accuracy": Column(
        "share of held-out images that the victim classifies rightly; empty: untrained, or not known",
        "share",
        0,
        1,
        "higher",
    ),
}


def _share_columns(name: str, what: str) -> dict[str, Column]:
    return {
        f"{name}_share": Column(f"share of images {what}", "share", 0, 1, "higher"),
        f"{name}_low": Column("lower 95 % bound of that share, over batches", "share", 0, 1, "higher"),
        f"{name}_high": Column("upper 95 % bound of that share, over batches", "share", 0, 1, "higher"),
    }


THRESHOLDS = (20, 30)
"""PSNR in dB above which an image is called recovered."""
SHARES = {
    **{
        column: facts
        for threshold in THRESHOLDS
        for column, facts in _share_columns(f"psnr{threshold}", f"with a PSNR above {threshold} dB").items()
    },
    **_share_columns("identified", "whose original is the first of the pool for every judge that looked"),
}
"""Boards from before have none of these columns, and no `VICTIM`."""

_PROVED = {
    "n_recovered": Column("images that are the original in every 8-bit pixel; empty: not counted", "count", 0),
    "recovered_low": Column("lower 95 % bound of n_recovered / n_images", "share", 0, 1, "higher"),
    "recovered_high": Column("upper 95 % bound of n_recovered / n_images", "share", 0, 1, "higher"),
    "n_certified": Column(
        "images that the attack proved to be of the batch whose update it saw, without any original; empty: no proof",
        "count",
        0,
    ),
    "certified_low": Column("lower 95 % bound of n_certified / n_images", "share", 0, 1),
    "certified_high": Column("upper 95 % bound of n_certified / n_images", "share", 0, 1),
}

_COSTS = {
    "objective_start": Column("objective at the start, mean over batches; never compare rows", "attack's own"),
    "objective_end": Column("objective of what was returned, mean over batches", "attack's own", direction="lower"),
    "evaluations": Column(
        "parameter gradients of candidate batches spent, 0 for one that solves without any; mean over batches",
        "evaluations",
        0,
    ),
    "evaluations_counted": Column(
        "the same as the victim counted them, whatever the attack says; mean over batches", "evaluations", 0
    ),
    "seconds_mean": Column("wall-clock time of one batch's attack", "s", 0, direction="lower"),
    "peak_memory_mb": Column("largest peak memory of any batch", "MB", 0, direction="lower"),
    "engine": Column(
        "how the attack evaluated its candidates: eager, captured or compiled; how many together; "
        "precision if not float32"
    ),
    "threads": Column("CPU threads of one trial"),
    "device": Column("device the trials ran on"),
    "versions": Column("versions of what was installed"),
    "date": Column("day of the row's latest trial", "YYYY-MM-DD"),
    "suite_hash": Column("hash of the suite, where the trials know it"),
}

_TAIL = {
    "schema": Column("version of this table of columns", "count", 1, LEADERBOARD_SCHEMA),
    "notes": Column("reasons for what is empty, failed or unusual, joined by `; `"),
}


def metric_column(metric: str) -> Column:
    """The column of a metric's single values; of a plug-in that is not loaded only the name is known.

    >>> metric_column("gmsd").meaning, metric_column("gmsd").range
    ('gradient magnitude similarity deviation', '0 to 0.5')
    """
    facts = facts_of(metric)
    if facts is None:
        return Column(f"metric of a plug-in: `gradinv show metric {metric}`", "its own")
    meaning = facts.meaning or f"metric of a plug-in: `gradinv show metric {metric}`"
    return Column(meaning, facts.unit or "1", facts.low, facts.high, facts.direction)


def metric_columns(metric: str) -> dict[str, Column]:
    """Mean and 95 % interval over batches of one metric, all within the range of its values."""
    column, facts = metric_column(metric), facts_of(metric)
    cap = math.inf if facts is None else facts.cap
    meaning = f"{column.meaning}: mean over batches" + f", more than {cap:g} counted as {cap:g}" * math.isfinite(cap)
    possible = replace(column, high=min(column.high, cap))
    columns = {
        f"{metric}_mean": replace(possible, meaning=meaning),
        f"{metric}_low": replace(possible, meaning="lower 95 % bound of that mean"),
        f"{metric}_high": replace(possible, meaning="upper 95 % bound of that mean"),
    }
    return columns | (_rank_columns(metric) if judge_of(metric) else {})


def _rank_columns(metric: str) -> dict[str, Column]:
    return {
        f"{metric}_top1": Column("share of images whose original is the first of the pool", "share", 0, 1, "higher"),
        f"{metric}_top10": Column("share of images whose original is among the first ten", "share", 0, 1, "higher"),
        f"{metric}_median": Column("median rank of the original in the pool", "rank", 1, direction="lower"),
    }


def leaderboard_columns(extra_metrics: Iterable[str] = ()) -> dict[str, Column]:
    """Name -> column of a leaderboard, in order; `extra_metrics`, measured on request, stand after the others."""
    columns = dict(_IDENTITY)
    for name, column in SETTING.items():
        columns[name] = column
        if name == "labels":  # what the attack made of the labels stands beside what was granted
            columns |= _INFERRED | LETTER
    columns |= _COUNTS
    for metric in (*board_metrics(), *extra_metrics):
        columns |= metric_columns(metric)
    return {**columns, **SHARES, **_PROVED, **_CONTROLS, **VICTIM, **UTILITY, **_COSTS, **IDENTITY, **_TAIL}


def image_columns(extra_metrics: Iterable[str] = (), details: Iterable[str] = ()) -> dict[str, Column]:
    """Name -> column of the image table, in order; `details` are those of `DETAILS` that occur."""
    metrics = {name: metric_column(name) for name in (*board_metrics("image"), *extra_metrics)}
    shown = {name: column for name, column in DETAILS.items() if name in set(details)}
    return {**_IMAGE_HEAD, **SETTING, **_IMAGE, **metrics, **shown, **_IMAGE_TAIL, **IDENTITY}


def required_image_columns() -> list[str]:
    """Names of the columns without which a table is no image table: no metric, and no setting that came later."""
    columns = {**_IMAGE_HEAD, **SETTING, **_IMAGE, **_IMAGE_TAIL}
    return [name for name, column in columns.items() if column.default is None]


def schema_markdown(columns: Mapping[str, Column]) -> str:
    """The columns as a Markdown table, one line each.

    >>> print(schema_markdown({"n_images": Column("scored images", "count", 0)}))
    | column | meaning | unit | range | better |
    |---|---|---|---|---|
    | `n_images` | scored images | count | ≥ 0 |  |
    """
    lines = ["| column | meaning | unit | range | better |", "|---|---|---|---|---|"]
    for name, column in columns.items():
        lines.append(f"| `{name}` | {column.meaning} | {column.unit} | {column.range} | {column.direction} |")
    return "\n".join(lines)
