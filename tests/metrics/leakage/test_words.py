"""What leaks and from where, as columns, badges and sentences say it."""

from itertools import combinations

import pytest

from gradinv.metrics.leakage.verdict import FAMILY, Leakage
from gradinv.metrics.leakage.words import badge, joined, parted, sentence

SUBSETS = [subset for size in range(4) for subset in combinations(FAMILY, size)]


@pytest.mark.parametrize("respects", SUBSETS)
def test_columns_are_read_back(respects):
    assert parted(joined(respects)) == respects
    assert joined(respects) == ("+".join(respects) or "none")


def test_unknown_is_empty_and_other_words_are_no_respects():
    assert joined(None) == ""
    assert parted("") == parted("none") == parted("colours") == ()


def row(leaks, gradient="", **controls):
    empty = dict.fromkeys(("best_control", "structure_control", "identity_control"), "")
    return {"leaks": leaks, "from_gradient": gradient} | (controls or empty | {"best_control": "mean_image"})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (row("", best_control=""), "no control to compare with"),
        (row(""), "too few batches"),
        (row("", best_control="", identity_control="mean_image"), "too few batches"),
        (row("none", "none"), "no better than controls"),
        (row("pixels", "pixels"), "pixels leak"),
        (row("structure", "structure"), "structure leaks"),
        (row("identity", "identity"), "identity leaks"),
        (row("pixels+structure+identity", "pixels+structure+identity"), "pixels, structure and identity leak"),
        (row("identity", "none"), "identity leaks (not from the gradient)"),
        (row("pixels+identity", "none"), "pixels and identity leak (not from the gradient)"),
        (row("structure+identity", "structure"), "structure and identity leak (structure from the gradient)"),
        (row("identity", ""), "identity leaks (too few batches to say whether from the gradient)"),
        (row("identity", "identity", best_control="", identity_control="mean_image"), "identity leaks"),
        (
            row("pixels+identity", "pixels", best_control="mean_image", from_statistics="none"),
            "pixels and identity leak (pixels from the gradient, identity from gradient or statistics)",
        ),
        (
            row("identity", "none", best_control="mean_image", from_statistics="none"),
            "identity leaks (identity from gradient or statistics)",
        ),
    ],
)
def test_badges(fields, words):
    assert badge(fields) == words


EVERY = tuple(FAMILY)


@pytest.mark.parametrize(
    ("leakage", "words"),
    [
        (Leakage({}), ""),
        (Leakage({}, untested=EVERY), ""),
        (Leakage({}, statistics=("identity",)), ""),
        (Leakage({}, gradient=()), "no better than controls"),
        (Leakage({}, gradient=(), statistics=(), labels=(), prior=()), "no better than controls"),
        (Leakage({}, gradient=("identity",)), "identity leaks, from the gradient"),
        (Leakage({}, gradient=("pixels",), statistics=()), "pixels leak, from the gradient"),
        (Leakage({}, gradient=EVERY), "pixels, structure and identity leak, from the gradient"),
        (
            Leakage({}, gradient=(), statistics=("identity",)),
            "identity leaks, from the batch-norm statistics; the gradient adds nothing here",
        ),
        (
            Leakage({}, gradient=(), statistics=("structure", "identity")),
            "structure and identity leak, from the batch-norm statistics; the gradient adds nothing here",
        ),
        (
            Leakage({}, gradient=("pixels",), statistics=("identity",)),
            "pixels leak, from the gradient; identity leaks from the batch-norm statistics alone",
        ),
        (
            Leakage({}, gradient=("structure", "identity"), statistics=("identity",)),
            "structure and identity leak, from the gradient; "
            "the batch-norm statistics alone give identity too, less well",
        ),
        (
            Leakage({}, gradient=("identity",), statistics=("pixels", "identity")),
            "identity leaks, from the gradient; the batch-norm statistics alone give identity too, less well; "
            "pixels leak from the batch-norm statistics alone",
        ),
        (
            Leakage({}, gradient=(), statistics=(), either=("identity",)),
            "identity leaks, from the gradient or the batch-norm statistics; which of them is not shown",
        ),
        (
            Leakage({}, gradient=("pixels",), statistics=(), either=("identity",)),
            "pixels leak, from the gradient; identity leaks, from the gradient or the batch-norm statistics",
        ),
        (
            Leakage({}, gradient=(), statistics=("identity",), either=("structure",)),
            "identity leaks, from the batch-norm statistics; "
            "structure leaks, from the gradient or the batch-norm statistics",
        ),
        (
            Leakage({}, gradient=(), labels=("pixels",), prior=("pixels", "structure")),
            "no better than controls; another image of the class gives pixels already; "
            "the priors alone give pixels and structure already",
        ),
        (
            Leakage({}, gradient=("pixels",), untested=("identity",)),
            "pixels leak, from the gradient; identity was not looked at",
        ),
        (
            Leakage({}, gradient=(), untested=("structure", "identity")),
            "no better than controls; structure and identity were not looked at",
        ),
    ],
)
def test_sentences(leakage, words):
    assert sentence(leakage) == words


@pytest.mark.parametrize("gradient", SUBSETS)
@pytest.mark.parametrize("statistics", [None, *SUBSETS])
def test_every_respect_that_leaks_is_named_and_no_better_only_where_none_does(gradient, statistics):
    leakage = Leakage({}, gradient=gradient, statistics=statistics)
    words = sentence(leakage)
    assert ("no better than controls" in words) == (leakage.leaks == ())
    assert tuple(respect for respect in FAMILY if respect in words) == leakage.leaks
    assert ("the gradient adds nothing" in words) == (not gradient and bool(statistics))


def test_what_leaks_is_from_the_gradient_or_from_statistics():
    assert Leakage({}).leaks is None
    assert Leakage({}, gradient=("identity",), statistics=("pixels",)).leaks == ("pixels", "identity")
    assert Leakage({}, gradient=None, statistics=("pixels",)).leaks == ("pixels",)
    assert Leakage({}, gradient=(), labels=("pixels",), prior=("structure",)).leaks == ()
