"""Every registered attack and preset: its paper, its words, its parameters; and one-line errors for the rest."""

import copy
import inspect
import subprocess
import sys
from typing import get_type_hints

import pytest

from gradinv.attacks.attack import Attack
from gradinv.attacks.registry import (
    ATTACKS,
    PRESETS,
    Parametrised,
    attack_keys,
    create_attack,
    hyperparameters,
    register_preset,
)
from gradinv.metrics.keys import parse_key
from gradinv.metrics.registry import InvalidEntryError, UnknownNameError

NAMES = ATTACKS.names()


def test_the_four_attacks_and_their_presets_are_there() -> None:
    assert {"dlg", "idlg", "inverting_gradients", "gradinversion"} <= set(NAMES)
    assert {"gradinversion.no_bn", "inverting_gradients.cifar"} <= set(PRESETS.names())


@pytest.mark.parametrize("name", NAMES)
def test_the_paper_is_cited_in_full(name: str) -> None:
    paper = ATTACKS.get(name).metadata["paper"]
    assert all([paper.title, paper.authors, paper.venue])
    assert 2015 <= paper.year <= 2035
    assert paper.url.startswith("https://")
    for value in (paper.title, paper.authors, paper.venue, str(paper.year), paper.url):
        assert value in paper.bibtex
    assert paper.bibtex.count("{") == paper.bibtex.count("}")


@pytest.mark.parametrize("name", NAMES)
def test_the_class_has_words_and_typed_keyword_only_parameters(name: str) -> None:
    attack = ATTACKS.get(name).target
    assert issubclass(attack, Attack)
    assert attack.__doc__
    parameters = [p for p in inspect.signature(attack.__init__).parameters.values() if p.name != "self"]
    hints = get_type_hints(attack.__init__)
    assert parameters
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty and p.name in hints for p in parameters)


@pytest.mark.parametrize("key", attack_keys())
def test_every_key_creates_an_attack_that_prints_all_hyperparameters(key: str) -> None:
    attack = create_attack(key)
    parameters = inspect.signature(type(attack).__init__).parameters
    chosen = hyperparameters(parse_key(key))
    for name, parameter in parameters.items():
        if name != "self":
            value = chosen.get(name, parameter.default)
            shown = str(value).lower() if value is None or isinstance(value, bool) else value
            assert f"{name}={shown}" in repr(attack)


@pytest.mark.parametrize("key", attack_keys())
def test_the_key_of_a_repr_makes_the_same_attack(key: str) -> None:
    attack = create_attack(key)
    bracket = repr(attack).removeprefix(type(attack).__name__)
    assert repr(create_attack(key.split(".")[0] + bracket)) == repr(attack)


def test_parameters_of_the_key_go_before_those_of_the_preset() -> None:
    attack = create_attack("inverting_gradients.batch[restarts=2]")
    expected = {"alpha_tv": 1e-2, "lr": 0.1, "iterations": 24_000, "restarts": 2, "label_rule": None}
    expected |= {"distance": "cosine", "init": "normal", "alpha_prediction": 0.0, "alpha_autoencoder": 0.0, "levels": 1}
    expected |= {"decoder": False}
    assert attack.hyperparameters == expected


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("gradinversio", UnknownNameError, "unknown attack 'gradinversio'; did you mean gradinversion?"),
        ("gradinversion.no_bm", UnknownNameError, "did you mean gradinversion.no_bn"),
        ("dlg.paper", UnknownNameError, "unknown preset 'dlg.paper'; valid: none"),
        (
            "dlg[tolerence=1]",
            InvalidEntryError,
            "unknown parameter of attack 'dlg' 'tolerence'; did you mean tolerance?",
        ),
        ("dlg[lr=-1]", InvalidEntryError, "greater than 0"),
        ("dlg[restarts=1.5]", InvalidEntryError, "restarts=1.5 is not valid"),
        ("gradinversion[alpha_tv=much]", InvalidEntryError, "alpha_tv='much' is not valid"),
        ("dlg[lr]", InvalidEntryError, "parameter=value"),
    ],
)
def test_a_wrong_key_is_one_line_that_helps(key: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        create_attack(key)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_preset_is_written_with_a_dot() -> None:
    with pytest.raises(InvalidEntryError, match=r"name\.preset"):
        register_preset("gradinversion", lr=1.0)


def test_a_positional_argument_is_refused() -> None:
    with pytest.raises(TypeError):
        ATTACKS.get("dlg").target(0.1)


def test_a_copy_prints_the_same_also_where_a_parameter_has_no_default() -> None:
    class Needy(Parametrised):
        def __init__(self, *, strength: float, depth: int = 2) -> None:
            self.strength = strength

    assert repr(copy.copy(Needy(strength=0.5))) == "Needy[depth=2,strength=0.5]"
    with pytest.raises(TypeError, match="strength"):
        Needy()


def test_a_class_without_parameters_prints_its_name() -> None:
    class Plain(Parametrised):
        """No hyperparameters at all."""

    assert repr(Plain()) == "Plain"


def test_names_are_listed_without_torch() -> None:
    code = "import sys, gradinv.attacks.registry as r; print(*r.attack_keys()); print('torch' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert printed[0].split() == attack_keys()
    assert printed[1] == "False"


def test_an_attack_without_a_budget_of_its_own_asks_for_one() -> None:
    assert Attack().evaluations(12) == 12
    with pytest.raises(ValueError, match="suite must give one"):
        Attack().evaluations(None)
    assert Attack().prior_only() is None
