"""Text from elsewhere: no control character reaches a terminal, no line is two, no cell is a formula."""

import unicodedata

import pytest

from gradinv.metrics.plain_text import cut, from_cell, no_formula, one_line, plain

HOSTILE = ["\x1b[31mred\x1b[0m", "a\x07b", "a\x9bb", "a\u202eb", "a\u2066b", "a\rb", "\udce9"]


@pytest.mark.parametrize("text", HOSTILE)
def test_control_characters_are_shown_and_not_sent(text):
    shown = plain(text)
    assert not any(unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in shown)
    assert shown != text


@pytest.mark.parametrize("text", ["", "plain", "Grüße · 日本語", "two\nlines", "a\tb"])
def test_other_text_stays_as_it_is(text):
    assert plain(text) == text


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\u2028b".replace("\u2028", "\x0b"), "x" * 10_000, "a\tb"])
def test_a_line_is_one_line(text):
    line = one_line(text)
    assert len(line.splitlines()) == 1
    assert len(line) <= 2_000


def test_what_is_long_is_cut_in_its_middle():
    assert cut("x" * 80) == "x" * 80
    assert len(cut("x" * 81)) <= 80
    assert cut("begin" + "x" * 1000 + "end").startswith("begin")


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-x", "@x", "\t=1", "\r=1", "'=1", "''=1", "'-1", "'plain", "plain", "", "'"]
)
def test_cells_never_begin_a_formula_and_are_read_back(text):
    cell = no_formula(text)
    assert cell[:1] not in tuple("=+-@\t\r")
    assert from_cell(cell) == text


@pytest.mark.parametrize("text", ["-1", "+1.5", "-1e-05", "-.5"])
def test_numbers_stay_numbers(text):
    assert no_formula(text) == from_cell(text) == text
