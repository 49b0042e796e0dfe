"""Completion by the shell: the script that is installed, and what it is answered."""

import pytest
import typer

from gradinv.benchmark.cli import app

VERBS = {command.name or command.callback.__name__ for command in app.registered_commands}


@pytest.fixture
def said(monkeypatch, capsys):
    """`said(environment)`: what the command prints in that environment."""

    def ask(**environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit):
            typer.main.get_command(app)([], prog_name="gradinv")
        return capsys.readouterr().out

    return ask


@pytest.mark.parametrize(("shell", "sign"), [("bash", "complete -o default -F _gradinv"), ("zsh", "#compdef gradinv")])
def test_the_script_of_a_shell_is_shown(said, shell, sign):
    script = said(_GRADINV_COMPLETE=f"source_{shell}")
    assert sign in script
    assert f"_GRADINV_COMPLETE=complete_{shell}" in script


def test_bash_is_told_every_verb(said):
    shown = said(_GRADINV_COMPLETE="complete_bash", COMP_WORDS="gradinv ", COMP_CWORD="1").split()
    assert {"run", "leaderboard", "audit"} <= set(shown) == VERBS
    assert said(_GRADINV_COMPLETE="complete_bash", COMP_WORDS="gradinv le", COMP_CWORD="1").split() == ["leaderboard"]


def test_zsh_is_told_the_options_of_a_verb_with_their_help(said):
    shown = said(_GRADINV_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="gradinv train --im")
    assert '"--image-size":"Pixels, or 64x80' in shown
