"""Whether an attack works in its setting: the column `works` of its row in words, for tables and pages."""

from collections.abc import Mapping
from typing import Any

from gradinv.metrics.typesetting import amount, signed

WORKS, NO_BETTER = "works", "no better than controls"
NO_CONTROL, TOO_FEW = "no control to compare with", "too few batches"


def answer(row: Mapping[str, Any]) -> str:
    """`yes`, `no`, or empty where nothing can be said: for controls, without controls, below 2 batches."""
    # The board holds words, not booleans: empty is the third answer.
    return {"true": "yes", "false": "no"}.get(row["works"], "")


def in_words(row: Mapping[str, Any]) -> str:
    """The verdict on an attack, or why there is none.

    >>> in_words({"works": "false", "best_control": "mean_image"}), in_words({"works": "", "best_control": ""})
    ('no better than controls', 'no control to compare with')
    """
    if not row["best_control"]:
        return NO_CONTROL
    return {"yes": WORKS, "no": NO_BETTER, "": TOO_FEW}[answer(row)]


def in_a_sentence(row: Mapping[str, Any]) -> str:
    """The verdict on an attack with the size of its gain over the best control."""
    if not row["best_control"]:
        return "There is no control to compare with, so nothing can be said of what the gradient gave away."
    gain = signed(amount("psnr", *(row[f"psnr_gain_{part}"] for part in ("mean", "low", "high"))))
    best = f"the best control here, {row['best_control']}"
    return {
        "yes": f"Works here: its PSNR exceeds that of {best}, by {gain}; the whole 95 % interval lies above 0.",
        "no": f"No better than controls here: the gain over {best}, is {gain}, so it can be 0 or less.",
        "": f"Too few batches for a verdict; the gain over {best}, is {gain}.",
    }[answer(row)]
