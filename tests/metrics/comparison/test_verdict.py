"""Verdicts say what was found, for whom, and no word more."""

import math

import pytest
from gradinv.metrics.comparison.compare import Comparison
from gradinv.metrics.comparison.findings import Report
from gradinv.metrics.comparison.meetings import Meeting
from gradinv.metrics.comparison.verdict import refusal, verdict
from gradinv.metrics.records.samples import Sample


def found(metric="psnr", gain=1.2, low=0.8, high=1.6, n=16, p=0.001) -> Comparison:
    return Comparison(metric, n, 2 * n, 20.0, 20.0 - gain, gain, low, high, 0.9, p, p)


LPIPS = found("lpips_alex", 0.01, -0.02, 0.04, p=0.5)


def report(*comparisons, seeds=1, beaten=((1, 1), (1, 1)), budgets="", despite=False, failed=0, diverged=0) -> Report:
    ours = Sample("mine", False, {}, {}, "runs", n_failed=failed)
    theirs = Sample("dlg", False, {}, {}, "runs", n_diverged=diverged)
    pairs = dict.fromkeys(range(seeds), (ours, theirs))
    return Report("mine", "dlg", Meeting({}, pairs), list(comparisons), [], beaten, budgets, despite)


def test_better_on_one_and_not_distinguishable_on_another():
    assert verdict(report(found(), LPIPS)) == (
        "mine against dlg: better on PSNR by 1.2 dB [0.8, 1.6] for this victim; "
        "not distinguishable on LPIPS (AlexNet); 16 batches; both beat their controls"
    )


def test_worse_says_by_how_much_without_a_minus():
    assert "worse on PSNR by 1.2 dB [0.8, 1.6] for this victim" in verdict(
        report(found(gain=-1.2, low=-1.6, high=-0.8))
    )


def test_several_metrics_are_listed():
    said = verdict(report(found(), found("ssim", 0.1, 0.05, 0.15), found("gmsd", 0.02, 0.01, 0.03)))
    assert "better on PSNR by 1.2 dB [0.8, 1.6], SSIM by 0.100 [0.050, 0.150] and GMSD by 0.020 [0.010, 0.030]" in said


def test_a_small_certain_difference_is_never_printed_as_zero():
    assert "by 0.02 dB [0.01, 0.03]" in verdict(report(found(gain=0.02, low=0.01, high=0.03)))


@pytest.mark.parametrize(
    ("seeds", "scope"), [(1, "for this victim"), (2, "for these 2 victims"), (3, "over 3 victim seeds")]
)
@pytest.mark.parametrize("comparison", [found(), LPIPS])
def test_no_general_claim_below_three_victims(seeds, scope, comparison):
    said = verdict(report(comparison, seeds=seeds))
    assert scope in said
    assert said.count("victim") == 1


def test_no_verdict_below_eight_batches():
    few = report(found(n=7))
    assert verdict(few) == "mine against dlg: no verdict: 7 common batches, 8 are the fewest that allow one"
    assert "1 common batch, 8" in refusal(report(found(n=1, low=math.nan, high=math.nan, p=math.nan)))
    assert "0 common batches" in refusal(report())


def test_a_metric_with_too_few_batches_is_named():
    assert "too few batches on LPIPS (AlexNet)" in verdict(report(found(), found("lpips_alex", n=3)))


def test_equal_is_said():
    assert "equal on label accuracy" in verdict(report(found(), found("label_accuracy", 0.0, 0.0, 0.0, p=math.nan)))


def test_unequal_budgets_allow_no_verdict_unless_asked_for():
    budgets = "unequal budgets: 400 against 1,600 evaluations"
    assert verdict(report(found(), budgets=budgets)) == (
        f"mine against dlg: no verdict: {budgets} (--allow-unequal-budget compares them all the same)"
    )
    assert f"for this victim; {budgets}; 16 batches" in verdict(report(found(), budgets=budgets, despite=True))


@pytest.mark.parametrize(
    ("comparison", "beaten", "said"),
    [
        (found(), ((0, 1), (0, 1)), "16 batches; but neither beats its controls"),
        (LPIPS, ((0, 1), (0, 1)), "16 batches; neither beats its controls"),
        (found(), ((0, 1), (1, 1)), "but mine does not beat its controls; dlg beats its controls"),
        (found(), ((1, 1), (0, 1)), "mine beats its controls; but dlg does not beat its controls"),
        (found(), ((0, 0), (0, 1)), "but mine has no controls here to beat; dlg does not"),
        (found(), ((2, 3), (3, 3)), "but mine does not beat its controls for 1 of 3 victims; dlg beats"),
        (found(), ((1, 1), (1, 1)), "both beat their controls"),
    ],
)
def test_whether_they_beat_their_controls_is_always_said(comparison, beaten, said):
    assert said in verdict(report(comparison, beaten=beaten))


def test_failed_and_diverged_trials_are_said():
    said = verdict(report(found(), failed=2, diverged=1))
    assert said.endswith("2 failed trials of mine not counted; 1 diverged trial of dlg scored")
    assert "2 failed trials of mine" in verdict(report(found(n=5), failed=2))
