"""What a reviewer asks of a table, line by line, with the columns of a board that answer it."""

import textwrap
from collections.abc import Mapping, Sequence

from gradinv.metrics.boards.rows import PublishedRow

NOT_MEASURED = "not measured"
QUESTIONS: Mapping[str, Sequence[str]] = {
    "batch size": ("batch_size",),
    "image size": ("image_size",),
    "data set": ("dataset",),
    "victim: network, state, seeds": ("victim", "victim_state", "victim_seed"),
    "accuracy of the victim": ("victim_accuracy",),
    "client mode, what is known of batch norm": ("bn_mode", "bn_statistics", "granted_numbers_per_pixel"),
    "label knowledge, largest equal count": ("labels", "label_method", "max_equal_labels"),
    "update, how well local training is known": ("update", "simulation"),
    "defense, known to the attacker": ("defense", "adaptive"),
    "what the defense costs": ("accuracy_cost",),
    "letter of the threat model": ("letter",),
    "attack, preset, parameters": ("attack", "preset", "parameters", "versions"),
    "where its hyperparameters come from": ("tuning",),
    "budget, what was spent, on what": ("budget", "evaluations", "seconds_mean", "device"),
    "batches, images; intervals are over batches": ("n_batches", "n_images"),
    "PSNR": ("psnr_mean",),
    "SSIM": ("ssim_mean",),
    "LPIPS, with its backbone": ("lpips_alex_mean", "lpips_vgg_mean"),
    "semantic measure": ("identity_judge", "identity_lowpass_mean"),
    "images recovered above 20 and 30 dB, identified": ("psnr20_share", "psnr30_share", "identified_share"),
    "images recovered exactly, and proven so": ("n_recovered", "n_certified"),
    "best control, gain over it": ("best_control", "psnr_gain_mean"),
    "verdict: what leaks, from where": ("works", "leaks", "from_gradient"),
    "published number beside it": ("published_psnr",),
}
"""Question -> columns that answer it; those that no board has yet are among them, for nothing else answers."""
_SHOWN = 3
_WIDTH = 80


def review_lines(rows: Sequence[PublishedRow]) -> list[str]:
    """The questions with their answers, over all attack rows that have values; lines of at most 80 characters.

    An answer is a column with its values, as many as fit; `not measured` where no row has any, and where some lack
    one, how many have it.
    """
    attacks = [row for row in rows if not row.cell.is_control and row.n_batches]
    lines: list[str] = []
    for question, columns in QUESTIONS.items():
        answers = [answer for column in columns if (answer := _answer(column, attacks))]
        text = f"{question}: {'; '.join(answers) or NOT_MEASURED}"
        lines += textwrap.wrap(text, _WIDTH, subsequent_indent="    ", break_long_words=True)
    return lines


def _answer(column: str, rows: Sequence[PublishedRow]) -> str:
    """A column in words; empty where no row has a value of it."""
    values = [value for row in rows if (value := row.words.get(column, ""))]
    if not values:
        return ""
    distinct = list(dict.fromkeys(values))
    numbers = [float(value) for value in distinct] if all(map(_is_number, distinct)) else []
    if len(numbers) > _SHOWN:
        shown = f"{min(numbers):.4g} to {max(numbers):.4g}"
    else:
        more = f" and {len(distinct) - _SHOWN} more" if len(distinct) > _SHOWN else ""
        shown = ", ".join(f"{float(v):.4g}" if numbers else _short(v) for v in distinct[:_SHOWN]) + more
    # A preset or a parameter that is empty is the default and nothing that was left out.
    is_partial = len(values) < len(rows) and column not in ("preset", "parameters")
    return f"{column} {shown}" + (f" ({len(values)} of {len(rows)} rows)" if is_partial else "")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _short(word: str) -> str:
    return textwrap.shorten(word, 60, placeholder="...")
