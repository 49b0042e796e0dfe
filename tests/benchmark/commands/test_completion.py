"""Completion by the shell: the script that is installed, and what it is answered."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from gradinv.attacks.registry import attack_keys
from gradinv.benchmark.cli import app
from gradinv.benchmark.commands.names import models, names_of
from gradinv.metrics.figures import FIGURES

BOARD = Path(__file__).parents[3] / "leaderboards" / "ablation-cifar10.csv"
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


@pytest.fixture
def completed(said):
    """`completed(words)`: what bash is offered for the last of these words."""

    def ask(words):
        return said(
            _GRADINV_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split(" ")) - 1)
        ).split()

    return ask


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("gradinv run qu", ["quick"]),
        ("gradinv run quick --attack inverting_gradients.ta", ["inverting_gradients.tag"]),
        ("gradinv run quick --victim ", ["lenet_dlg", "test_resnet[epochs=1]"]),
        ("gradinv run defenses --defense sign", ["sign[size=0.001]", "sign[size=0.01]", "sign[size=0.1]"]),
        ("gradinv run nothing --victim ", []),
        ("gradinv audit --defense dp_sgd+prec", ["dp_sgd+precode"]),
        ("gradinv leaderboard runs/mine --column ms", ["ms_ssim"]),
        ("gradinv show dataset ph", ["photos"]),
        ("gradinv show model lenet_d", ["lenet_dlg"]),
        ("gradinv show schema ", []),
        ("gradinv train resnet18 --dataset ph", ["photos"]),
        ("gradinv plot runs/mine --kind re", ["recovery"]),
        ("gradinv plot runs/mine --kind sweep --kind ", list(FIGURES)),
        ("gradinv plot runs/mine --width ", ["column", "page"]),
        ("gradinv run quick --dry-run --device cuda --card RTX", ["RTX3090", "RTX4090"]),
        ("gradinv labels --update ", ["gradient", "weight_update"]),
        ("gradinv audit --update w", ["weight_update"]),
        ("gradinv labels --state e", ["early"]),
        ("gradinv list suites qu", ["quick"]),
        ("gradinv list models lenet_d", ["lenet_dlg"]),
        (f"gradinv check {BOARD} --victim test_resnet[", ["test_resnet[epochs=10]"]),
        (f"gradinv check {BOARD} --defense ", ["none"]),
        (f"gradinv check {BOARD} --attack gradinversion.grad", ["gradinversion.grad_only[restarts=4]"]),
        ("gradinv check quick --attack inverting_gradients.ta", ["inverting_gradients.tag"]),
        ("gradinv check nothing.csv --victim ", []),
        (
            "gradinv labels --rule llg_star",
            ["llg_star[inputs=zeros]", "llg_star[inputs=ones]", "llg_star[inputs=randn]"],
        ),
    ],
)
def test_values_are_completed_with_names(completed, words, offered):
    assert completed(words) == offered


def test_every_attack_is_offered(completed):
    assert completed("gradinv show attack ") == attack_keys()


def test_models_are_read_from_files_as_timm_lists_them():
    listed = set(names_of("models"))
    assert {"resnet18", "vit_tiny_patch16_224", "lenet_dlg", "mlp1000"} <= set(models()) <= listed
    assert len(models()) > 0.95 * len(listed)


def test_a_process_that_completes_imports_no_torch():
    """As a shell asks, with all kinds of names: one that waits for torch completes nothing."""
    code = (
        "import sys; from gradinv.benchmark.cli import main\n"
        "try: main()\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    asked = (
        "gradinv run quick --victim te",
        "gradinv show model lenet_d",
        "gradinv tune idlg --objective ssi",
        "gradinv plot runs/mine --kind re",
        "gradinv run quick --card RTX30",
        f"gradinv check {BOARD} --victim lenet_",
    )
    for words in asked:
        environment = {"_GRADINV_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        command = [sys.executable, "-c", code]
        said = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True).stdout
        assert said.split()[1:] == ["False"], words
