"""The leaderboard as a table on the terminal."""

from typing import Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metrics.columns import SETTING
from metrics.settings import granted, title, varying, wrap_key

LEGEND = (
    "Mean over n batches [95 % interval]; dimmed rows are controls. PSNR and SSIM: higher is better. Gain: "
    "PSNR minus that of the best control, paired by batch.\n"
    "works: the whole interval of the gain lies above 0, so the attack gets more out of the leaked update than chance, "
    "labels and priors give.\n"
    "no better than controls: the gain can be 0 or less. too few batches: below two, nothing can be said."
)


_KEY_WIDTH = 24
_ASIDES = {"n_diverged": "diverged", "n_failed": "failed, not counted"}


def print_leaderboard(frame: pd.DataFrame, console: Console) -> None:
    """Print a leaderboard (as `metrics.leaderboard.leaderboard` makes it), one group for each setting."""
    also = varying(_rows(frame[list(SETTING)].drop_duplicates()))
    for _, group in frame.groupby(list(SETTING), sort=False, dropna=False):
        setting = _rows(group)[0]
        console.print(f"\n[bold]{escape(title(setting, also))}[/bold]")
        console.print(f"[dim]{escape(granted(setting))}[/dim]")
        scored = group[group["n_batches"] > 0]
        if len(scored):
            console.print(_table(scored))
        for row in _rows(group[group["n_batches"] == 0]):
            console.print(f"[dim]{escape(_unscored(row))}[/dim]", soft_wrap=True)
    if len(frame):
        console.print(f"\n[dim]{LEGEND}[/dim]")


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _table(rows: pd.DataFrame) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("attack", no_wrap=True, min_width=_KEY_WIDTH)
    for heading in ("n", "PSNR dB", "SSIM", "labels", "gain dB"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("best control", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    attacks = _rows(rows[rows["is_control"] == "false"])
    controls = _rows(rows[rows["is_control"] == "true"])
    for attack in attacks:
        table.add_row(*_cells(attack))
        for control in (control for control in controls if control["preset"] == _key(attack)):
            table.add_row(*_cells(control, control["attack"]), style="dim")
    keys = {_key(attack) for attack in attacks}
    for control in (control for control in controls if control["preset"] not in keys):
        of = f" of {control['preset']}" if control["preset"] else ""
        table.add_row(*_cells(control, f"{control['attack']}{of}"), style="dim")
    return table


def _cells(row: dict[str, Any], control: str = "") -> list[str]:
    name = f"  {control}" if control else wrap_key(_key(row), _KEY_WIDTH)
    asides = [f"\n  {row[column]} {word}" for column, word in _ASIDES.items() if row[column]]
    return [
        escape(name + "".join(asides)),
        str(row["n_batches"]),
        _interval(row, "psnr", 1),
        _number(row["ssim_mean"], 2),
        _percent(row["label_accuracy_mean"]),
        "" if control else _interval(row, "psnr_gain", 1),
        row["best_control"],
        "" if control else _verdict(row),
    ]


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
