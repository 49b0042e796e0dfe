"""The leaderboard as a table on the terminal."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gradinv.metrics.records.settings import SETTING, granted, title, varying, wrap_key

LEGEND = (
    "Mean over n batches [95 % interval]; dimmed rows are controls. PSNR and SSIM: higher is better. Gain: "
    "PSNR minus that of the best control, paired by batch.\n"
    "works: the whole interval of the gain lies above 0, so the attack gets more out of the leaked update than chance, "
    "labels and priors give.\n"
    "no better than controls: the gain can be 0 or less. too few batches: below two, nothing can be said."
)


_KEY_WIDTH = 24
_HEADINGS = ("attack", "n", "PSNR dB", "SSIM", "labels", "gain dB", "best control", "verdict")
_NARROW_HEADINGS = ("attack", "n", "PSNR dB", "gain dB", "verdict")
_NARROW = 100  # columns of a terminal that is too small for all headings
_ASIDES = {"n_diverged": "diverged", "n_failed": "failed, not counted"}


def print_leaderboard(frame: pd.DataFrame, console: Console) -> None:
    """Print a leaderboard (as `leaderboard.leaderboard` makes it), one group for each setting."""
    also = varying(_rows(frame[list(SETTING)].drop_duplicates()))
    for _, group in frame.groupby(list(SETTING), sort=False, dropna=False):
        setting = _rows(group)[0]
        console.print(f"\n[bold]{escape(title(setting, also))}[/bold]")
        console.print(f"[dim]{escape(granted(setting))}[/dim]")
        scored = group[group["n_batches"] > 0]
        if len(scored):
            console.print(_table(scored, _NARROW_HEADINGS if console.width < _NARROW else _HEADINGS))
        for row in _rows(group[group["n_batches"] == 0]):
            console.print(f"[dim]{escape(_unscored(row))}[/dim]", soft_wrap=True)
    if len(frame):
        console.print(f"\n[dim]{LEGEND}[/dim]")


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _table(rows: pd.DataFrame, headings: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        words = heading in ("attack", "best control", "verdict")
        table.add_column(
            heading,
            justify="left" if words else "right",
            no_wrap=heading != "verdict",
            min_width=_KEY_WIDTH if heading == "attack" else None,
        )
    for row, name in _ordered(rows):
        cells = _cells(row, name)
        table.add_row(*(cells[heading] for heading in headings), style="dim" if name else None)
    return table


def _ordered(rows: pd.DataFrame) -> Iterator[tuple[dict[str, Any], str]]:
    """Each attack, with an empty name, and beneath it its controls with theirs; last the controls of every attack."""
    attacks = _rows(rows[rows["is_control"] == "false"])
    controls = _rows(rows[rows["is_control"] == "true"])
    for attack in attacks:
        yield attack, ""
        yield from ((control, control["attack"]) for control in controls if control["preset"] == _key(attack))
    keys = {_key(attack) for attack in attacks}
    for control in (control for control in controls if control["preset"] not in keys):
        yield control, control["attack"] + (f" of {control['preset']}" if control["preset"] else "")


def _cells(row: dict[str, Any], control: str = "") -> dict[str, str]:
    name = f"  {control}" if control else wrap_key(_key(row), _KEY_WIDTH)
    asides = [f"\n  {row[column]} {word}" for column, word in _ASIDES.items() if row[column]]
    return {
        "attack": escape(name + "".join(asides)),
        "n": str(row["n_batches"]),
        "PSNR dB": _interval(row, "psnr", 1),
        "SSIM": _number(row["ssim_mean"], 2),
        "labels": _percent(row["label_accuracy_mean"]),
        "gain dB": "" if control else _interval(row, "psnr_gain", 1),
        "best control": row["best_control"],
        "verdict": "" if control else _verdict(row),
    }


def _key(row: dict[str, Any]) -> str:
    return f"{row['attack']}{'.' if row['preset'] else ''}{row['preset']}{row['parameters']}"


def _verdict(row: dict[str, Any]) -> str:
    if not row["best_control"]:
        return "no control to compare with"
    return {"true": "[green]works[/green]", "false": "[yellow]no better than controls[/yellow]"}.get(
        row["works"], "too few batches"
    )


def _unscored(row: dict[str, Any]) -> str:
    name = f"{row['attack']} of {row['preset']}" if row["is_control"] == "true" and row["preset"] else _key(row)
    return f"{'  ' if row['is_control'] == 'true' else ''}{name}: {row['notes'] or row['state']}"


def _interval(row: dict[str, Any], column: str, digits: int) -> str:
    low, high = (_number(row[f"{column}_{bound}"], digits) for bound in ("low", "high"))
    return _number(row[f"{column}_mean"], digits) + (f" [{low}, {high}]" if low else "")


def _number(value: float, digits: int) -> str:
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return "" if pd.isna(value) else f"{100 * value:.0f} %"
