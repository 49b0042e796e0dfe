"""Verbs from records to tables and figures: `leaderboard`, `plot`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from gradinv.benchmark.commands.names import attacks, figures, metrics, widths
from gradinv.benchmark.commands.options import Plugins, console, load_plugins, say, taking
from gradinv.metrics.records import require_file, require_folder
from gradinv.metrics.registry import RequestError


def leaderboard(
    runs: list[Path],
    csv: Annotated[Path | None, typer.Option(help="Where to write the board; its .images.csv goes beside it.")] = None,
    latex: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Where to write it as LaTeX (booktabs), a table a setting."),
    ] = None,
    column: Annotated[
        list[str],
        typer.Option(
            help="A metric that has a column in the LaTeX, in this order; repeatable.", autocompletion=metrics
        ),
    ] = [],  # noqa: B006 - typer copies it
    across: Annotated[
        bool, typer.Option("--across", help="Make the LaTeX a table a metric, with a column for each setting.")
    ] = False,
    attack: Annotated[
        list[str],
        typer.Option(
            help="Only this attack (key or wildcard) and its controls, in this order; repeatable.",
            autocompletion=attacks,
        ),
    ] = [],  # noqa: B006
    names: Annotated[Path | None, typer.Option(help="YAML file of keys and names for display in the LaTeX.")] = None,
    html: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for it as web pages, with pictures; open index.html.")
    ] = None,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Print the leaderboard of run directories; write it as CSV, LaTeX or HTML.

    In place of run directories, --html takes a folder of published boards (CSV), label boards too.
    """
    from gradinv.metrics.boards import leaderboard as board_of, lines_by_setting, print_leaderboard, write_board
    from gradinv.metrics.records import read_records, selected

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
    records = selected(records, attack)
    board = board_of(records) if csv is None else write_board(records, csv)
    print_leaderboard(lines_by_setting(records, board), console())
    if latex is not None:
        from gradinv.metrics.boards import write_latex

        for line in write_latex(records, latex, column, read_names(names), across=across):
            say(line)
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


@dataclass(frozen=True)
class PlotRequest:
    """What `gradinv plot` is asked for, option by option."""

    runs: Annotated[list[Path], typer.Argument(help="Run directories.")]
    out: Annotated[Path, typer.Option(help="Folder for the figures.")] = Path("figures")
    kind: Annotated[
        list[str],
        typer.Option(
            help="Only figures of this kind: quality, recovery, sweep, images, ...; repeatable.", autocompletion=figures
        ),
    ] = field(default_factory=list)
    attack: Annotated[
        list[str],
        typer.Option(
            help="Only this attack (key or wildcard) and its controls, in this order; repeatable.",
            autocompletion=attacks,
        ),
    ] = field(default_factory=list)
    names: Annotated[
        Path | None, typer.Option(help="YAML file of keys and names for display; attacks look alike in its order.")
    ] = None
    style: Annotated[Path | None, typer.Option(help="A matplotlib style file, over gradinv's own.")] = None
    width: Annotated[
        str,
        typer.Option(help="column (3.35 inches), page (6.9) or inches; else as suits each.", autocompletion=widths),
    ] = ""
    titles: Annotated[bool, typer.Option(help="Words above figures; without, in a file beside each.")] = True
    plugin: Plugins = field(default_factory=list)


@taking(PlotRequest)
def plot(request: PlotRequest) -> None:
    """Draw figures and contact sheets from run directories, as PNG and PDF with the CSV each was drawn from."""
    from gradinv.benchmark.runs import contrasts_of
    from gradinv.metrics.figures import Material, Presentation, draw_all, without_figure
    from gradinv.metrics.records import RunDirectory, read_records, selected
    from gradinv.metrics.typesetting import counted

    require_folder(request.out, "--out")
    load_plugins(request.plugin)
    presentation = Presentation(
        style=request.style, width=_width(request.width), titles=request.titles, names=read_names(request.names)
    )
    records, faults = read_records(request.runs)
    for fault in faults:
        say(fault)
    records = selected(records, request.attack)
    contrasts = [contrast for directory in request.runs for contrast in contrasts_of(RunDirectory(directory))]
    # Several run directories may have been made from one suite and name the same contrasts.
    material = Material(records, list(dict.fromkeys(contrasts)), request.runs)
    missing = {kind: without_figure(kind) for kind in request.kind}  # a name that is wrong stops before any is drawn
    drawn = {kind: draw_all(material, request.out, presentation, [kind] if kind else []) for kind in missing or [""]}
    for kind, paths in drawn.items():
        if not paths:
            nothing = f"nothing drawn: {counted(len(records), 'record')} hold nothing that figures would show"
            say(f"gradinv: {missing.get(kind, nothing)}")
        for path in paths:
            print(path)


def _width(text: str) -> float | None:
    """Inches; None for none."""
    from gradinv.metrics.figures import WIDTHS

    try:
        inches = WIDTHS.get(text) or float(text or "nan")
    except ValueError:
        inches = -1.0
    if text and not 1 <= inches <= 40:
        raise RequestError(f"--width {text}: write column, page, or inches from 1 to 40")
    return inches if text else None


def read_names(path: Path | None) -> dict[str, str]:
    """Keys with their names for display, from a YAML mapping; RequestError where it is none."""
    from gradinv.benchmark.strict_yaml import read_yaml

    if path is None:
        return {}
    try:
        names = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"--names {path}: no readable YAML ({' '.join(str(error).split())})") from error
    if not isinstance(names, dict) or not all(isinstance(text, str) for pair in names.items() for text in pair):
        raise RequestError(f"--names {path}: write one `key: name` a line, as `idlg: iDLG`")
    return names
