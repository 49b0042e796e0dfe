"""Every `gradinv` command on a page is one: its verb, its options and their values exist, and so does its suite.

Whole commands are executed where they take seconds: test_new_attack_page, test_errands, test_audit, test_contest_page,
test_notebooks, test_plugin_runs; here it is those too that would take hours.
"""

import re
import shlex
from pathlib import Path

import pytest
import typer

from gradinv.benchmark.cli import app
from gradinv.benchmark.runs import suite_path

CHECKOUT = Path(__file__).parents[2]
PAGES = sorted(path for folder in ("", "docs/", "leaderboards/") for path in CHECKOUT.glob(f"{folder}*.md"))
GROUP = typer.main.get_command(app)


def commands(text):
    """The words of each command in the blocks of a page, without what is said beside it."""
    blocks = "".join(re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)).replace("\\\n", " ")
    lines = re.findall(r"^(?:.*&& )?gradinv ([\w-]+ .*)$", blocks, re.MULTILINE)
    return [shlex.split(re.split(r"(?<! ) {3,}(?=\S)(?!--)", line)[0]) for line in lines]


FOUND = [(path.name, words) for path in PAGES for words in commands(path.read_text(encoding="utf-8"))]


def test_there_are_commands_to_look_at():
    assert len(FOUND) > 40


@pytest.mark.parametrize(
    ("page", "words"), FOUND, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_command_of_a_page_is_one(page, words):
    verb, *arguments = words
    command = GROUP.commands[verb]
    parameters = command.make_context(verb, arguments).params  # UsageError where one is not known
    suite = str(parameters.get("suite", ""))
    assert verb != "run" or suite.endswith(".yaml") or suite_path(suite).is_file()
