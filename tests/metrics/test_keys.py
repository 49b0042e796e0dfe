"""Keys: the grammar, the round trip, and what a signature lets through."""

import math
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from gradinv.metrics.keys import UNBOUNDED, Key, bracketed, checked_arguments, parse_key
from gradinv.metrics.registry import InvalidEntryError


@pytest.mark.parametrize(
    ("text", "key", "canonical"),
    [
        ("dlg", Key("dlg"), "dlg"),
        (" gradinversion.no_bn ", Key("gradinversion", "no_bn"), "gradinversion.no_bn"),
        ("gaussian_noise[sigma=1e-2]", Key("gaussian_noise", "", {"sigma": 0.01}), "gaussian_noise[sigma=0.01]"),
        ("a.b[y=2, x = 1]", Key("a", "b", {"x": 1, "y": 2}), "a.b[x=1,y=2]"),
        ("a[]", Key("a"), "a"),
        ("a[x=1,]", Key("a", "", {"x": 1}), "a[x=1]"),
        ("a[x=True,y=none,z=word]", Key("a", "", {"x": True, "y": None, "z": "word"}), "a[x=true,y=none,z=word]"),
        ("a[x=-inf]", Key("a", "", {"x": -math.inf}), "a[x=-inf]"),
        ("a[x=p=q]", Key("a", "", {"x": "p=q"}), "a[x=p=q]"),
    ],
)
def test_text_to_key_and_back(text: str, key: Key, canonical: str) -> None:
    assert parse_key(text) == key
    assert str(key) == canonical
    assert parse_key(canonical) == key


@pytest.mark.parametrize("value", [1, -3, 0.1, 1e-12, 1e300, 2.0, True, False, None, "exact", math.inf])
def test_a_value_keeps_its_bits_and_type(value: Any) -> None:
    back = parse_key(str(Key("a", "", {"x": value}))).parameters["x"]
    assert back == value
    assert type(back) is type(value)


def test_brackets_are_sorted_and_vanish_without_parameters() -> None:
    assert bracketed({"b": 1, "a": 2}) == "[a=2,b=1]"
    assert bracketed({}) == ""


@pytest.mark.parametrize("text", ["", "1dlg", "a.b.c", "a[x=1", "a]", "a b", "a.[x=1]", "a[x=1]b"])
def test_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidEntryError, match=r"is no key; write name, name\.preset or"):
        parse_key(text)


def test_a_parameter_without_a_value_is_refused() -> None:
    with pytest.raises(InvalidEntryError, match="written parameter=value"):
        parse_key("a[x]")


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(InvalidEntryError, match="given twice"):
        parse_key("a[x=1,x=2]")


class Noise:
    def __init__(
        self,
        *,
        sigma: Annotated[float, Field(ge=0)] = 0.1,
        kind: Literal["normal", "laplace"] = "normal",
        bound: Annotated[float, Field(gt=0), UNBOUNDED] = 1.0,
        clip: bool = False,
    ):
        self.sigma, self.kind, self.bound, self.clip = sigma, kind, bound, clip


class Bare:
    """Has no parameters."""


def test_values_are_brought_to_the_type_of_the_signature() -> None:
    checked = checked_arguments("defense 'noise'", Noise, {"sigma": 1, "kind": "laplace"})
    assert checked == {"sigma": 1.0, "kind": "laplace"}
    assert type(checked["sigma"]) is float


def test_a_parameter_may_say_that_it_can_be_infinite_or_true() -> None:
    arguments = {"bound": math.inf, "clip": True}
    assert checked_arguments("defense 'noise'", Noise, arguments) == arguments


def test_functions_and_parameters_without_a_type_are_taken_as_well() -> None:
    def crop(images: list[int], *, size: int = 3, mode="centre") -> None: ...

    assert checked_arguments("data set 'x'", crop, {"size": 4, "mode": "left"}) == {"size": 4, "mode": "left"}


def test_an_unknown_parameter_comes_with_the_nearest() -> None:
    with pytest.raises(InvalidEntryError) as caught:
        checked_arguments("defense 'noise'", Noise, {"sigme": 1.0})
    assert str(caught.value) == "unknown parameter of defense 'noise' 'sigme'; did you mean sigma?"


def test_a_class_without_parameters_takes_none() -> None:
    with pytest.raises(InvalidEntryError, match="'args'; valid: none"):
        checked_arguments("attack 'bare'", Bare, {"args": 1})


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"sigma": -1.0}, r"sigma=-1\.0 is not valid: .*greater than or equal to 0"),
        ({"sigma": "much"}, "sigma='much' is not valid: .*number"),
        ({"sigma": True}, "sigma=True is not valid: .*number"),
        ({"sigma": math.inf}, "sigma=inf is not valid: .*finite"),
        ({"sigma": math.nan}, "sigma=nan is not valid"),
        ({"bound": math.nan}, "bound=nan is not valid"),
        ({"kind": "c" * 10_000}, "kind='c{30,40}…c{30,40}' is not valid"),
        ({"kind": "cauchy"}, "kind='cauchy' is not valid: .*'normal' or 'laplace'"),
    ],
)
def test_a_wrong_value_says_what_was_expected(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidEntryError, match=reason):
        checked_arguments("defense 'noise'", Noise, arguments)
