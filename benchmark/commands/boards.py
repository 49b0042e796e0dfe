"""Verbs from records to tables and figures: `leaderboard`, `plot`."""

from pathlib import Path
from typing import Annotated

import typer

from gradinv.benchmark.commands.options import Plugins, console, load_plugins, say
from gradinv.metrics.records import require_file, require_folder
from gradinv.metrics.registry import RequestError


def leaderboard(
    runs: list[Path],
    csv: Annotated[Path | None, typer.Option(help="Where to write the board; its .images.csv goes beside it.")] = None,
    latex: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Where to write it as LaTeX (booktabs), a table a setting."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for it as web pages, with pictures; open index.html.")
    ] = None,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Print the leaderboard of run directories; write it as CSV, LaTeX or HTML.

    In place of run directories, --html takes a folder of published boards (CSV), label boards too.
    """
    from gradinv.metrics.boards import leaderboard as board_of, lines_by_setting, print_leaderboard, write_board
    from gradinv.metrics.records import read_records

    _check_places(csv, latex, html)
    load_plugins(plugin)
    if html is not None and len(runs) == 1 and _holds_boards(runs[0]):
        if csv or latex:
            raise RequestError(f"{runs[0]} holds boards and no trials: they are CSVs already; give --html alone")
        print(_boards_site(runs[0], html))
        return
    records, faults = read_records(runs)
    for fault in faults:
        say(fault)
    board = board_of(records) if csv is None else write_board(records, csv)
    print_leaderboard(lines_by_setting(records, board), console())
    if latex is not None:
        from gradinv.metrics.boards import write_latex

        write_latex(records, latex)
    if html is not None:
        from gradinv.benchmark.experiment import MEANING
        from gradinv.benchmark.runs import rerun_of
        from gradinv.metrics.report import Extras, write_html

        print(write_html(records, html, Extras(runs, MEANING, rerun_of)))


def _holds_boards(folder: Path) -> bool:
    """Whether published boards lie in the folder, and no trials."""
    from gradinv.metrics.records import RunDirectory, trial_ids

    return not trial_ids(RunDirectory(folder)) and any(folder.glob("*.csv"))


def _boards_site(folder: Path, html: Path) -> Path:
    from gradinv.benchmark.experiment import MEANING
    from gradinv.metrics.boards import published_boards
    from gradinv.metrics.report import write_boards

    return write_boards(published_boards(folder), html, MEANING)


def _check_places(csv: Path | None, latex: Path | None, html: Path | None) -> None:
    """PathError where one of them cannot be written, before any is."""
    for path, option in ((csv, "--csv"), (latex, "--latex")):
        if path is not None:
            require_file(path, option)
    if html is not None:
        require_folder(html, "--html")


def plot(
    runs: list[Path],
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures"),
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Draw figures and contact sheets from run directories."""
    from gradinv.benchmark.runs import contrasts_of
    from gradinv.metrics.figures import Material, draw_all
    from gradinv.metrics.records import RunDirectory, read_records

    require_folder(out, "--out")
    load_plugins(plugin)
    records = read_records(runs)[0]
    contrasts = [contrast for directory in runs for contrast in contrasts_of(RunDirectory(directory))]
    # Several run directories may have been made from one suite and name the same contrasts.
    written = draw_all(Material(records, list(dict.fromkeys(contrasts)), runs), out)
    print("\n".join(str(path) for path in written))
