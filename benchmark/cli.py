"""The `gradinv` command. Torch and the packages on top of it are imported by the verbs that need them."""

import re
import sys
from typing import Annotated

import typer

from gradinv.benchmark.commands import (
    attack,
    audit,
    boards,
    check,
    compare,
    data,
    identify,
    labels,
    look,
    run,
    train,
    tune,
    utility,
)
from gradinv.benchmark.stopping import Stopped, leave_at_next_signal, watch_signals
from gradinv.metrics.plain_text import one_line
from gradinv.metrics.records import fault_in_words
from gradinv.metrics.registry import RequestError


def _say_version(wanted: bool) -> None:
    if wanted:
        from gradinv.benchmark.api import __version__

        print(f"gradinv {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which gradinv this is.")
    ] = False,
) -> None:
    """The benchmark of gradient-inversion attacks: every number stands beside its controls."""


app = typer.Typer(
    name="gradinv",
    callback=_options,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The benchmark of gradient-inversion attacks: every number stands beside its controls.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(run.run)
app.command("list")(look.list_)
app.command()(look.show)
app.command()(look.status)
app.command()(boards.leaderboard)
app.command()(boards.plot)
app.command()(compare.compare)
app.command()(labels.labels)
app.command()(identify.identify)
app.command()(train.train)
app.command("train-autoencoder")(train.train_autoencoder)
app.command()(data.data)
app.command()(tune.tune)
app.command()(utility.utility)
app.command()(utility.recommend)
app.command()(audit.audit)
app.command()(attack.attack)
app.command()(check.check)
app.command()(look.doctor)


# What each verb imports it imports in its body, so that `--help` and `list` answer at once.
def main() -> None:
    """Entry point: what ends a verb is one line on stderr.

    Exit status 2 for a wrong request, 1 for what the system refuses, 128 and the signal's number for a signal.
    """
    watch_signals()
    try:
        _check_arguments(sys.argv[1:])
        app(prog_name="gradinv")
    except RequestError as error:
        _end(str(error), 2)
    except OSError as error:
        _end(fault_in_words(error), 1)
    except Stopped as stop:
        _end(str(stop), stop.status)
    finally:
        # Python takes its time to leave: nobody who presses Ctrl-C once more is to see a traceback of it.
        leave_at_next_signal()


def _end(line: str, status: int) -> None:
    print(f"gradinv: {one_line(line)}", file=sys.stderr)
    sys.exit(status)


def _check_arguments(arguments: list[str]) -> None:
    """RequestError where an argument is empty: the name of a file or folder would become the working directory."""
    for place, argument in enumerate(arguments):
        if not argument or re.fullmatch(r"--[a-z-]+=", argument):
            option = argument or " ".join([*arguments[:place][-1:], "''"])
            raise RequestError(f"{option}: the value is empty; is a variable of the shell not set?")
