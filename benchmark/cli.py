"""The `gradinv` command. Torch and the packages on top of it are imported by the verbs that need them."""

import sys

import typer

from gradinv.benchmark.commands import boards, compare, identify, labels, look, run, train
from gradinv.metrics.registry import RequestError

app = typer.Typer(
    name="gradinv",
    help="The benchmark of gradient-inversion attacks: every number stands beside its controls.",
    no_args_is_help=True,
    add_completion=False,
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
app.command()(look.check)
app.command()(look.doctor)


# What each verb imports it imports in its body, so that `--help` and `list` answer at once.
def main() -> None:
    """Entry point: a wrong request is one line on stderr and exit status 2."""
    try:
        app()
    except RequestError as error:
        print(f"gradinv: {error}", file=sys.stderr)
        sys.exit(2)
