"""Verdicts say what was found, for whom, and no word more."""

import math

import pytest

from gradinv.metrics.comparison.compare import Comparison
from gradinv.metrics.comparison.findings import Findings
from gradinv.metrics.comparison.meetings import Meeting
from gradinv.metrics.comparison.verdict import refusal, verdict_line
from gradinv.metrics.records.samples import Sample


def compared(metric="psnr", gain=1.2, low=0.8, high=1.6, n=16, p=0.001) -> Comparison:
    return Comparison(metric, n, 2 * n, 20.0, 20.0 - gain, gain, low, high, 0.9, p, p)


LPIPS = compared("lpips_alex", 0.01, -0.02, 0.04, p=0.5)


@pytest.fixture
def findings(make_record):
    """`findings(*comparisons, ...)`: what was measured of `mine` and `dlg`."""

    def make(*comparisons, seeds=1, beaten=((1, 1), (1, 1)), budgets="", despite=False, failed=0, diverged=0):
        attack = Sample(make_record("mine", 0).cell, {}, "runs", n_failed=failed)
        baseline = Sample(make_record("dlg", 0).cell, {}, "runs", n_diverged=diverged)
        meeting = Meeting({}, dict.fromkeys(range(seeds), (attack, baseline)))
        return Findings("mine", "dlg", meeting, list(comparisons), [], beaten, budgets, despite)

    return make


def test_better_on_one_and_not_distinguishable_on_another(findings):
    assert verdict_line(findings(compared(), LPIPS)) == (
        "mine against dlg: better on PSNR by 1.2 dB [0.8, 1.6] for this victim; "
        "not distinguishable on LPIPS (AlexNet); 16 batches; both beat their controls"
    )


def test_worse_says_by_how_much_without_a_minus(findings):
    assert "worse on PSNR by 1.2 dB [0.8, 1.6] for this victim" in verdict_line(
        findings(compared(gain=-1.2, low=-1.6, high=-0.8))
    )


def test_several_metrics_are_listed(findings):
    sentence = verdict_line(findings(compared(), compared("ssim", 0.1, 0.05, 0.15), compared("gmsd", 0.02, 0.01, 0.03)))
    assert (
        "better on PSNR by 1.2 dB [0.8, 1.6], SSIM by 0.100 [0.050, 0.150] and GMSD by 0.020 [0.010, 0.030]" in sentence
    )


def test_a_small_certain_difference_is_never_printed_as_zero(findings):
    assert "by 0.02 dB [0.01, 0.03]" in verdict_line(findings(compared(gain=0.02, low=0.01, high=0.03)))


@pytest.mark.parametrize(
    ("seeds", "scope"), [(1, "for this victim"), (2, "for these 2 victims"), (3, "over 3 victim seeds")]
)
@pytest.mark.parametrize("comparison", [compared(), LPIPS])
def test_no_general_claim_below_three_victims(findings, seeds, scope, comparison):
    sentence = verdict_line(findings(comparison, seeds=seeds))
    assert scope in sentence
    assert sentence.count("victim") == 1


def test_no_verdict_below_eight_batches(findings):
    few = findings(compared(n=7))
    assert verdict_line(few) == "mine against dlg: no verdict: 7 common batches, 8 are the fewest that allow one"
    assert "1 common batch, 8" in refusal(findings(compared(n=1, low=math.nan, high=math.nan, p=math.nan)))
    assert "0 common batches" in refusal(findings())


def test_a_metric_with_too_few_batches_is_named(findings):
    assert "too few batches on LPIPS (AlexNet)" in verdict_line(findings(compared(), compared("lpips_alex", n=3)))


def test_equal_is_said(findings):
    assert "equal on label accuracy" in verdict_line(
        findings(compared(), compared("label_accuracy", 0.0, 0.0, 0.0, p=math.nan))
    )


def test_unequal_budgets_allow_no_verdict_unless_asked_for(findings):
    budgets = "unequal budgets: 400 against 1,600 evaluations"
    assert verdict_line(findings(compared(), budgets=budgets)) == (
        f"mine against dlg: no verdict: {budgets} (--allow-unequal-budget compares them all the same)"
    )
    despite = verdict_line(findings(compared(), budgets=budgets, despite=True))
    assert f"for this victim; {budgets}; 16 batches" in despite


@pytest.mark.parametrize(
    ("comparison", "beaten", "clause"),
    [
        (compared(), ((0, 1), (0, 1)), "16 batches; but neither beats its controls"),
        (LPIPS, ((0, 1), (0, 1)), "16 batches; neither beats its controls"),
        (compared(), ((0, 1), (1, 1)), "but mine does not beat its controls; dlg beats its controls"),
        (compared(), ((1, 1), (0, 1)), "mine beats its controls; but dlg does not beat its controls"),
        (compared(), ((0, 0), (0, 1)), "but mine has no controls here to beat; dlg does not"),
        (compared(), ((2, 3), (3, 3)), "but mine does not beat its controls for 1 of 3 victims; dlg beats"),
        (compared(), ((1, 1), (1, 1)), "both beat their controls"),
    ],
)
def test_whether_they_beat_their_controls_is_always_said(findings, comparison, beaten, clause):
    assert clause in verdict_line(findings(comparison, beaten=beaten))


def test_failed_and_diverged_trials_are_said(findings):
    sentence = verdict_line(findings(compared(), failed=2, diverged=1))
    assert sentence.endswith("2 failed trials of mine not counted; 1 diverged trial of dlg scored")
    assert "2 failed trials of mine" in verdict_line(findings(compared(n=5), failed=2))
