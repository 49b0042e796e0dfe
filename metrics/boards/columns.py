"""The columns of a leaderboard and of its image table: what each means, its unit, its range, and what is better."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from gradinv.metrics.images.iip import iip_meaning

LEADERBOARD_SCHEMA = 1


class Column(NamedTuple):
    """One column; `unit` also decides how it is stored: `text` and `true/false` as words, `count` as an integer."""

    meaning: str
    unit: str = "text"
    range: str = ""
    direction: str = ""


_VICTIM = {
    "dataset": Column("data set that the private batches come from"),
    "image_size": Column("height and width of the images", "px", "≥ 1"),
    "victim": Column("the client's network: a timm model's name"),
    "victim_state": Column("untrained, early, trained or pretrained; `untrained_degenerate`: > 5 % gradients are zero"),
    "victim_seed": Column("seed of the victim's weights", "count", "≥ 0"),
    "bn_mode": Column("mode of the client's batch-norm layers: eval or train"),
    "bn_statistics": Column("batch-norm statistics granted: none, running, proxy, inferred or exact"),
    "granted_numbers_per_pixel": Column(
        "batch-norm numbers granted / unknown pixel values; above about 0.5 the prior is a leak by itself",
        "ratio",
        "≥ 0",
    ),
    "labels": Column("labels granted: none, counts or known"),
}
_CLIENT = {
    "update": Column("what the client sends: gradient, or fedavg(...)"),
    "defense": Column("key of the defense; `none` for none"),
    "adaptive": Column("whether the attacker knows the defense", "true/false"),
    "batch_size": Column("images in one private batch", "count", "1 to 48"),
    "max_equal_labels": Column("most images of one label in a batch; 1: all labels distinct", "count", "≥ 1"),
    "budget": Column("evaluations that a trial may spend, restarts and all; `paper`: the preset's own"),
    "precision": Column("arithmetic of the attack's evaluations: float32, tf32 or bf16"),
}
SETTING = {**_VICTIM, **_CLIENT}

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

_COUNTS = {
    "n_batches": Column("scored batches: the n of every interval, unless `notes` says otherwise", "count", "≥ 0"),
    "n_images": Column("scored images", "count", "≥ 0"),
    "n_diverged": Column("batches whose attack diverged; scored on the best finite iterate", "count", "≥ 0"),
    "n_failed": Column("batches without values because of an error or of memory", "count", "≥ 0"),
    "n_skipped": Column("batches that are impossible here, with the reason in `notes`", "count", "≥ 0"),
    "state": Column("worst state of the row's trials: done < diverged < skipped < oom < failed"),
    "is_control": Column("whether the row is a control", "true/false"),
}

_IMAGE_HEAD = {
    "key": Column("the attack's key; for a control `NAME of KEY`, or its name where it controls every attack"),
    "is_control": _COUNTS["is_control"],
}
_IMAGE = {
    "batch": Column("repetition: the same number is the same draw in every row of one data set", "count", "≥ 0"),
    "slot": Column("place of the original in its batch", "count", "≥ 0"),
    "image": Column("hash of the original"),
    "label": Column("true label of the original", "count", "≥ 0"),
}

METRICS_SHOWN = {
    "psnr": Column("peak signal-to-noise ratio; what exceeds 100 dB (exact: inf) counts as 100", "dB", "≥ 0", "higher"),
    "ssim": Column("structural similarity, Wang et al. 2004, on the valid window", "1", "-1 to 1", "higher"),
    "lpips_alex": Column("LPIPS perceptual distance, AlexNet backbone", "1", "≥ 0", "lower"),
    "lpips_vgg": Column("LPIPS perceptual distance, VGG-16 backbone", "1", "≥ 0", "lower"),
    "gmsd": Column("gradient magnitude similarity deviation", "1", "0 to 0.5", "lower"),
    "fft2d": Column("difference of the magnitude spectra, per channel; ignores a shift", "1", "0 to 1", "lower"),
    "label_accuracy": Column("share of the batch's labels recovered, as a multiset", "share", "0 to 1", "higher"),
}
IMAGE_METRICS = tuple(name for name in METRICS_SHOWN if name != "label_accuracy")
DETAILS = {
    "agent_spread": Column("standard deviation over the agents, mean over the pixels", "pixel value", "0 to 1"),
    "consensus_psnr": Column("PSNR of the agents' consensus, which is not what is scored", "dB", "≥ 0", "higher"),
}
"""What some attacks say of an image beside its reconstruction: columns of an image table that has such attacks."""

_CONTROLS = {
    "slot_accuracy_mean": Column("share of images already in their own slot before matching", "share", "0 to 1"),
    "final_psnr_mean": Column("PSNR of the last iterate, which is not the one returned", "dB", "≥ 0", "higher"),
    "best_control": Column("the control that comes closest: smallest lower bound of the paired gain"),
    "psnr_gain_mean": Column("PSNR minus that of `best_control`, paired by batch", "dB", "", "higher"),
    "psnr_gain_low": Column("lower 95 % bound of the gain", "dB", "", "higher"),
    "psnr_gain_high": Column("upper 95 % bound of the gain", "dB", "", "higher"),
    "works": Column("whether `psnr_gain_low` > 0; empty for controls and below 2 paired batches", "true/false"),
}

_COSTS = {
    "objective_start": Column("objective at the start, mean over batches; never compare rows", "attack's own"),
    "objective_end": Column("objective of what was returned, mean over batches", "attack's own", "", "lower"),
    "evaluations": Column("parameter gradients of candidate batches spent, mean over batches", "evaluations", "≥ 0"),
    "seconds_mean": Column("wall-clock time of one batch's attack", "s", "≥ 0", "lower"),
    "peak_memory_mb": Column("largest peak memory of any batch", "MB", "≥ 0", "lower"),
    "engine": Column(
        "how the attack evaluated its candidates: eager, captured or compiled; how many together; "
        "precision if not float32"
    ),
    "threads": Column("CPU threads of one trial"),
    "device": Column("device the trials ran on"),
    "versions": Column("versions of what was installed"),
    "date": Column("day of the row's latest trial", "YYYY-MM-DD"),
    "suite_hash": Column("hash of the suite, where the trials know it"),
    "schema": Column("version of this table of columns", "count", f"{LEADERBOARD_SCHEMA}"),
    "notes": Column("reasons for what is empty, failed or unusual, joined by `; `"),
}


def metric_columns(name: str, column: Column) -> dict[str, Column]:
    """Mean and 95 % interval over batches of one metric."""
    return {
        f"{name}_mean": column._replace(meaning=f"{column.meaning}: mean over batches"),
        f"{name}_low": column._replace(meaning="lower 95 % bound of that mean"),
        f"{name}_high": column._replace(meaning="upper 95 % bound of that mean"),
    }


def leaderboard_columns(extra_metrics: Iterable[str] = ()) -> dict[str, Column]:
    """Name -> column of a leaderboard, in order; `extra_metrics`, those of plug-ins, stand after the other metrics."""
    shown = {**METRICS_SHOWN, **_plugged(extra_metrics)}
    measured = {name: column for metric in shown for name, column in metric_columns(metric, shown[metric]).items()}
    return {**_IDENTITY, **_VICTIM, **_INFERRED, **_CLIENT, **_COUNTS, **measured, **_CONTROLS, **_COSTS}


def image_columns(extra_metrics: Iterable[str] = (), details: Iterable[str] = ()) -> dict[str, Column]:
    """Name -> column of the image table, in order; `details` are those of `DETAILS` that occur."""
    own = {name: METRICS_SHOWN[name] for name in IMAGE_METRICS}
    own["psnr"] = own["psnr"]._replace(meaning="peak signal-to-noise ratio; inf for an exact image")
    shown = {name: column for name, column in DETAILS.items() if name in set(details)}
    return {**_IMAGE_HEAD, **SETTING, **_IMAGE, **own, **_plugged(extra_metrics), **shown, "state": _COUNTS["state"]}


def _plugged(metrics: Iterable[str]) -> dict[str, Column]:
    """Metrics beyond those of every board: identifiability, registered ones on request, plug-ins'."""
    return {
        name: Column(iip_meaning(name), "share", "0 to 1", "higher")
        if iip_meaning(name)
        else Column(f"metric on request or of a plug-in: `gradinv show metric {name}`", "its own")
        for name in metrics
    }


COLUMNS = leaderboard_columns()


def schema_markdown(columns: Mapping[str, Column]) -> str:
    """The columns as a Markdown table, one line each.

    >>> print(schema_markdown({"n_images": Column("scored images", "count", "≥ 0")}))
    | column | meaning | unit | range | better |
    |---|---|---|---|---|
    | `n_images` | scored images | count | ≥ 0 |  |
    """
    lines = ["| column | meaning | unit | range | better |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| `{name}` | {' | '.join(column)} |" for name, column in columns.items()])
