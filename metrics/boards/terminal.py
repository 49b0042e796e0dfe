"""The leaderboard as a table on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gradinv.metrics.boards.lines import BoardLine
from gradinv.metrics.images import identity_name
from gradinv.metrics.leakage import NO_BETTER, TOO_FEW, badge
from gradinv.metrics.records import Setting, granted, ordered, title, varying, wrap_key
from gradinv.metrics.typesetting import fixed, percent, with_interval

LEGEND = (
    "Mean over n batches [95 % interval]; dimmed rows are controls. PSNR and structure: higher is better. Rank: where "
    "the original stands in the pool by the judge that decides; 0 is the first place, 0.5 chance. "
    "Gain: PSNR minus that of the best control, paired by batch.\n"
    "Pixels (PSNR), structure and identity (rank) leak where the attack beats every control in them, corrected for "
    "looking at three: it gets more out of the leaked update than chance, labels, statistics and priors give.\n"
    f"{NO_BETTER}: in none of those looked at. {TOO_FEW}: below two, nothing can be said."
)
_KEY_WIDTH = 24
_HEADINGS = ("attack", "n", "PSNR dB", "structure", "rank", "labels", "gain dB", "best control", "verdict")
_NARROW_HEADINGS = ("attack", "n", "PSNR dB", "rank", "verdict")
_NARROW = 100  # columns of a terminal that is too small for all headings
_ASIDES = {"n_diverged": "diverged", "n_failed": "failed, not counted"}


def print_leaderboard(settings: Sequence[tuple[Setting, Sequence[BoardLine]]], console: Console) -> None:
    """Print a leaderboard as `lines.lines_by_setting` makes it, one table for each setting."""
    distinguishing = varying(setting for setting, _ in settings)
    for setting, lines in settings:
        console.print(f"\n[bold]{escape(title(setting, distinguishing))}[/bold]")
        console.print(f"[dim]{escape(granted(setting))}[/dim]")
        if any(line.is_scored for line in lines):
            console.print(_table(lines, _NARROW_HEADINGS if console.width < _NARROW else _HEADINGS))
        for line in lines:
            if not line.is_scored:
                indent = "  " if line.cell.is_control else ""
                text = f"{indent}{line.cell.key}: {line.row['notes'] or line.row['state']}"
                # Not broken where the terminal ends, for reasons are copied into searches.
                console.print(f"[dim]{escape(text)}[/dim]", soft_wrap=True)
    if settings:
        console.print(f"\n[dim]{LEGEND}[/dim]")


def _table(lines: Sequence[BoardLine], headings: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        words = heading in ("attack", "best control", "verdict")
        table.add_column(
            heading,
            justify="left" if words else "right",
            # Only the verdict may take a second line: broken numbers are read wrongly, broken words are not.
            no_wrap=heading != "verdict",
            min_width=_KEY_WIDTH if heading == "attack" else None,
        )
    # Among the scored ones alone: the controls of an attack that has no values stand with those of every attack.
    scored = {line.cell: line for line in lines if line.is_scored}
    keys = {cell.key for cell in scored if not cell.is_control}
    for cell in ordered(list(scored)):
        # Beneath its attack a control needs no more than its name.
        control = cell.attack if cell.preset in keys else cell.key
        texts = _texts(scored[cell], f"  {control}" if cell.is_control else wrap_key(cell.key, _KEY_WIDTH))
        table.add_row(*(texts[heading] for heading in headings), style="dim" if cell.is_control else None)
    return table


def _texts(line: BoardLine, name: str) -> dict[str, str]:
    """Heading -> what stands beneath it, as rich's markup."""
    asides = [f"\n  {line.row[column]} {words}" for column, words in _ASIDES.items() if line.row[column]]
    is_control = line.cell.is_control
    return {
        "attack": escape(name + "".join(asides)),
        "n": str(line.row["n_batches"]),
        "PSNR dB": with_interval(*line.interval("psnr"), decimals=1),
        "structure": fixed(line.number("structure_mean"), 2),
        "rank": fixed(_rank(line), 2),
        "labels": percent(line.number("label_accuracy_mean")),
        "gain dB": "" if is_control else with_interval(*line.interval("psnr_gain"), decimals=1),
        "best control": line.row["best_control"],
        "verdict": "" if is_control else _coloured(line),
    }


def _rank(line: BoardLine) -> float:
    """The normalised rank by the judge that decided; of a row without a verdict by the weight-free one."""
    judge = line.row["identity_judge"] or "lowpass"
    return line.number(f"{identity_name(judge)}_mean")


def _coloured(line: BoardLine) -> str:
    colour = {"yes": "green", "no": "yellow"}.get(line.works)
    verdict = escape(badge(line.row))
    return f"[{colour}]{verdict}[/{colour}]" if colour else verdict
