"""The three answers of the column `works`, in one word, in words and in a sentence."""

import math

import pytest

from gradinv.metrics.boards.works import NO_BETTER, NO_CONTROL, TOO_FEW, WORKS, answer, in_a_sentence, in_words


def row(works, best_control="mean_image", gain=(10.0, 9.0, 11.0)):
    parts = zip(("mean", "low", "high"), gain, strict=True)
    return {"works": works, "best_control": best_control} | {f"psnr_gain_{part}": value for part, value in parts}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            row("true"),
            ("yes", WORKS, "Works here: its PSNR exceeds that of the best control here, mean_image"),
        ),
        (
            row("false", gain=(1.0, -1.0, 3.0)),
            ("no", NO_BETTER, "mean_image, is 1.0 dB [\N{MINUS SIGN}1.0, 3.0], so it can be 0"),
        ),
        (row("", gain=(1.0, math.nan, math.nan)), ("", TOO_FEW, "Too few batches for a verdict; the gain over")),
        (row("", best_control=""), ("", NO_CONTROL, "There is no control to compare with, so nothing can be said")),
    ],
)
def test_each_answer_says_the_same_in_every_length(fields, expected):
    short, words, sentence = expected
    assert (answer(fields), in_words(fields)) == (short, words)
    assert sentence in in_a_sentence(fields)
