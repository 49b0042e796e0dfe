"""The verdict on samples made by hand: what leaks, from where, and what nobody looked at."""

import math

import numpy as np
import pytest
from scipy import stats

from gradinv.metrics.leakage import verdict
from gradinv.metrics.leakage.verdict import FAMILY, IDENTIFIED, leakage_of
from gradinv.metrics.statistics.intervals import gain_over_controls, one_sided

BATCHES = 8
WAVE = np.array([-1.5, 0.5, 1.0, -0.5, 1.5, -1.0, 0.25, -0.25])
"""What differs from batch to batch; its mean is 0, so that a shift is all that a test has to find."""
NULL = {"psnr": 10.0, "structure": 0.1, "identity_lowpass": 0.5, "identity_resnet": 0.5}
UNIT = {"psnr": 1.0, "structure": 0.1, "identity_lowpass": 0.1, "identity_resnet": 0.1}


def values(*names: str, wave: float = 1.0, **better: float) -> dict[str, list[float]]:
    """Values of the metrics by batch: those at chance, `better` by so many units of the metric."""
    made = {}
    for place, name in enumerate(names or NULL):
        sign = -1 if name.startswith("identity") else 1
        shift = better.get(name, 0.0) + wave * np.roll(WAVE, place) / 5
        made[name] = (NULL[name] + sign * UNIT[name] * shift).tolist()
    return made


def shift_of(p: float) -> float:
    """By how much WAVE has to be shifted so that Student's one-sided test says p."""
    return float(stats.t.isf(p, BATCHES - 1) * WAVE.std(ddof=1) / math.sqrt(BATCHES))


def shifted(p: float) -> list[float]:
    return (WAVE + shift_of(p)).tolist()


ZERO = [0.0] * BATCHES


@pytest.fixture
def leakage(make_sample, make_controls):
    """`leakage(attack, granted=..., control=..., ...)`: the verdict; the arguments are values by metric."""

    def made(attack, *, granted=0.0, **controls):
        return leakage_of(make_sample("dlg", attack, granted_numbers_per_pixel=granted), make_controls(**controls))

    return made


@pytest.mark.parametrize(
    ("better", "expected"),
    [
        ({}, ()),
        ({"psnr": 5.0}, ("pixels",)),
        ({"structure": 4.0}, ("structure",)),
        ({"identity_lowpass": 4.0, "identity_resnet": 4.0}, ("identity",)),
        ({"structure": 4.0, "identity_lowpass": 4.0, "identity_resnet": 4.0}, ("structure", "identity")),
        ({"psnr": 5.0, "structure": 4.0, "identity_lowpass": 4.0, "identity_resnet": 4.0}, tuple(FAMILY)),
        ({"psnr": -5.0, "identity_lowpass": 4.0, "identity_resnet": 4.0}, ("identity",)),
    ],
)
def test_a_gradient_leaks_in_the_respects_in_which_it_beats_every_control(leakage, better, expected):
    got = leakage(values(**better), mean_image=values(wave=0.2), other_gradient=values(wave=-0.3))
    assert got.gradient == got.leaks == expected
    assert (got.statistics, got.labels, got.untested) == (None, None, ())


def test_one_control_that_is_as_good_is_enough_to_acquit(leakage):
    found = {"identity_lowpass": 4.0, "identity_resnet": 4.0}
    controls = {"mean_image": values(wave=0.2), "other_gradient": values(wave=-0.3, **found)}
    got = leakage(values(psnr=5.0, **found), **controls)
    assert got.gradient == ("pixels",)
    assert got.gains["identity"].gain.control == "other_gradient"


@pytest.mark.parametrize("fooled", ["identity_lowpass", "identity_resnet"])
def test_one_judge_who_is_fooled_makes_no_identity_leak(leakage, fooled):
    (other,) = {"identity_lowpass", "identity_resnet"} - {fooled}
    got = leakage(values(**{fooled: 4.9}), mean_image=values(wave=0.2))
    assert got.gradient == ()
    assert got.gains["identity"].p > 0.05, f"{other} sees the original no nearer than chance"
    alone = leakage(values("psnr", fooled, **{fooled: 4.9}), mean_image=values("psnr", fooled, wave=0.2))
    assert alone.gradient == ("identity",)


def test_a_judge_that_is_convinced_needs_the_other_to_second_it(leakage):
    """Beside a control that the second judge cannot beat, it is enough that it sees the original nearer than chance."""
    ranks = [0.2, 0.3, 0.1, 0.25, 0.2, 0.3, 0.1, 0.25]
    attack = values(identity_lowpass=4.9) | {"identity_resnet": ranks}
    control = values(wave=0.2) | {"identity_resnet": ranks[::-1]}
    got = leakage(attack, mean_image=control)
    assert got.gradient == ("identity",)
    assert got.gains["identity"].metric == "identity_lowpass"
    seconding = stats.ttest_1samp([0.5 - rank for rank in ranks], 0, alternative="greater").pvalue
    assert got.gains["identity"].p == pytest.approx(2 * seconding / (1 - IDENTIFIED))


NEAR_CHANCE = [0.21, 0.42, 0.31, 0.35, 0.24, 0.51, 0.32, 0.19]
MOSTLY_NAMED = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.97]


def by_rank(ranks, second=None):
    """Pixels and structure at chance beside these ranks."""
    judges = {"identity_lowpass": ranks} | ({} if second is None else {"identity_resnet": second})
    return values("psnr", "structure") | judges


def test_who_names_seven_of_eight_is_not_acquitted_by_the_rank_of_the_last(leakage):
    control = by_rank(NEAR_CHANCE)
    differences = [chance - rank for chance, rank in zip(NEAR_CHANCE, MOSTLY_NAMED, strict=True)]
    assert stats.ttest_1samp(differences, 0, alternative="greater").pvalue > 0.05 / 3, "the mean rank does not convince"
    got = leakage(by_rank(MOSTLY_NAMED), mean_image=control)
    assert got.gradient == ("identity",)
    named = [float(rank == 0) for rank in MOSTLY_NAMED]
    assert got.gains["identity"].p == pytest.approx(
        stats.ttest_1samp(named, 0, alternative="greater").pvalue / IDENTIFIED
    )
    assert got.gains["identity"].gain.mean == pytest.approx(np.mean(differences)), "the gain is the mean rank's"


@pytest.mark.parametrize(
    ("attack", "control"),
    [
        (by_rank(MOSTLY_NAMED, NEAR_CHANCE), by_rank(NEAR_CHANCE, NEAR_CHANCE)),
        (by_rank(MOSTLY_NAMED), by_rank(MOSTLY_NAMED[1:] + MOSTLY_NAMED[:1])),
        (by_rank([0.001, *MOSTLY_NAMED[1:4], *NEAR_CHANCE[4:]]), by_rank(NEAR_CHANCE)),
    ],
    ids=["named by one judge of two", "named by the control too", "three of eight are too few"],
)
def test_what_the_share_named_does_not_say(leakage, attack, control):
    assert leakage(attack, mean_image=control).gradient == ()


ELSEWHERE = [0.01, 0.02, 0.0, 0.05, 0.03, 0.0, 0.02, 0.04]


def test_what_lies_elsewhere_is_no_acquittal_where_it_was_looked_for(leakage):
    """No judge of the verdict sees it, and so none seconds it."""
    attack, control = by_rank([0.5] * BATCHES, [0.52] * BATCHES), by_rank(NEAR_CHANCE, NEAR_CHANCE)
    assert leakage(attack, mean_image=control).gradient == ()
    got = leakage(attack | {"rank_anywhere": ELSEWHERE}, mean_image=control | {"rank_anywhere": NEAR_CHANCE})
    assert got.gradient == ("identity",)
    differences = [chance - rank for chance, rank in zip(NEAR_CHANCE, ELSEWHERE, strict=True)]
    seen = stats.ttest_1samp(differences, 0, alternative="greater").pvalue
    assert got.gains["identity"].p == pytest.approx(2 * seen)


def test_judges_whose_interval_holds_0_do_not_silence_what_lies_elsewhere(make_sample):
    attack = make_sample("dlg", by_rank([0.5] * BATCHES) | {"rank_anywhere": ELSEWHERE})
    control = make_sample("mean_image", by_rank([0.5] * BATCHES) | {"rank_anywhere": NEAR_CHANCE})
    seen = verdict._tested(attack, {"mean_image": control}, "rank_anywhere")
    silent = verdict.Tested("identity_lowpass", seen.gain, p=seen.p / 10, works=False)
    got = verdict._or_anywhere(silent, attack, {"mean_image": control})
    assert (got.works, got.p) == (True, 2 * seen.p)


def test_it_is_no_leak_where_a_control_shows_as_much_elsewhere(leakage):
    rest = by_rank([0.5] * BATCHES)
    controls = {"mean_image": rest | {"rank_anywhere": NEAR_CHANCE}, "prior_only": rest | {"rank_anywhere": ELSEWHERE}}
    assert leakage(rest | {"rank_anywhere": ELSEWHERE[::-1]}, **controls).gradient == ()


def test_to_look_elsewhere_costs_half_of_the_error(leakage):
    attack, control = by_rank(MOSTLY_NAMED), by_rank(NEAR_CHANCE)
    without = leakage(attack, mean_image=control).gains["identity"].p
    same = {"rank_anywhere": NEAR_CHANCE}
    assert leakage(attack | same, mean_image=control | same).gains["identity"].p == pytest.approx(2 * without)


def test_a_control_of_two_batches_makes_nothing_more_certain_than_two(make_sample):
    attack, control = (make_sample("dlg", by_rank([rank] * BATCHES)) for rank in (0.0, 0.5))
    short = make_sample("dlg", {name: column[:2] for name, column in by_rank([0.5] * BATCHES).items()})
    assert verdict._gain_in_identified(attack, {"mean_image": control, "same_class": short}).p == 4**-2


@pytest.mark.parametrize(("n", "p"), [(2, 4**-2), (4, 4**-4), (8, 4**-8)])
def test_few_batches_that_are_all_named_are_no_certainty(make_sample, n, p):
    ranks = by_rank([0.0] * BATCHES), by_rank([0.5] * BATCHES)
    attack, control = (make_sample("dlg", {name: column[:n] for name, column in it.items()}) for it in ranks)
    assert verdict._gain_in_identified(attack, {"mean_image": control}).p == p


def test_a_judge_of_one_batch_convinces_nobody(leakage):
    attack = values(identity_lowpass=4.0, identity_resnet=4.0)
    attack["identity_resnet"][1:] = [None] * (BATCHES - 1)
    got = leakage(attack, mean_image=values(wave=0.2))
    assert got.gradient == ()
    assert got.untested == ("identity",)
    assert math.isnan(got.gains["identity"].p)


def test_three_respects_are_corrected_for_and_one_is_not(leakage):
    """At p = 0.02 a respect leaks alone; among three, Holm asks for 0.05 / 3 of the smallest."""
    psnr = {"psnr": shifted(0.02)}
    assert leakage(psnr, mean_image={"psnr": ZERO}).gradient == ("pixels",)
    three = psnr | {"structure": shifted(0.6), "identity_lowpass": [-value for value in shifted(0.7)]}
    got = leakage(three, mean_image=dict.fromkeys(three, ZERO))
    assert got.gains["pixels"].p == pytest.approx(0.02)
    assert got.gradient == ()
    enough = three | {"psnr": shifted(0.016)}
    assert leakage(enough, mean_image=dict.fromkeys(three, ZERO)).gradient == ("pixels",)


def test_holm_steps_down(leakage):
    """0.01, 0.02 and 0.6: the second of three must be below 0.05 / 2 only, since the first was found."""
    three = {"psnr": shifted(0.01), "structure": shifted(0.02), "identity_lowpass": [-v for v in shifted(0.6)]}
    assert leakage(three, mean_image=dict.fromkeys(three, ZERO)).gradient == ("pixels", "structure")
    alike = three | {"psnr": shifted(0.02)}
    assert leakage(alike, mean_image=dict.fromkeys(three, ZERO)).gradient == ()


def test_an_interval_that_holds_0_is_no_leak_even_of_one_respect(leakage):
    """At p = 0.03 of a one-sided test the printed two-sided interval of 95 % holds 0."""
    got = leakage({"psnr": shifted(0.03)}, mean_image={"psnr": ZERO})
    assert got.gains["pixels"].gain.low < 0
    assert got.gradient == ()


def test_what_was_not_measured_is_named(leakage):
    got = leakage(values("psnr", psnr=5.0), mean_image=values("psnr"))
    assert (got.gradient, got.untested) == (("pixels",), ("structure", "identity"))
    # Measured of the attack alone is not measured.
    got = leakage(values(), mean_image=values("psnr", "structure"))
    assert got.untested == ("identity",)


def test_nothing_to_compare_with_is_no_verdict(leakage):
    for controls in ({}, {"mean_image": {"ssim": ZERO}}):
        got = leakage(values(psnr=5.0), **controls)
        assert (got.gains, got.gradient, got.leaks) == ({}, None, None)
        assert got.untested == tuple(FAMILY)


def test_one_batch_is_no_verdict(leakage):
    one = {name: column[:1] for name, column in values(psnr=5.0).items()}
    got = leakage(one, mean_image={name: column[:1] for name, column in values().items()})
    assert (got.gradient, got.leaks, got.untested) == (None, None, tuple(FAMILY))
    assert got.gains["pixels"].gain.mean == pytest.approx(5.0)


FOUND = {"identity_lowpass": 4.0, "identity_resnet": 4.0}
BLIND = {"same_class": values(wave=0.4), "mean_image": values(wave=0.2)}


def test_statistics_leak_where_blind_pictures_beat_those_without_statistics(leakage):
    controls = BLIND | {"prior_only": values(**FOUND), "no_statistics": values(wave=-0.3)}
    got = leakage(values(wave=0.9, **FOUND), granted=0.5, **controls)
    assert (got.gradient, got.statistics, got.leaks) == ((), ("identity",), ("identity",))
    assert (got.labels, got.prior) == ((), ())


def test_statistics_and_gradient_leak_each_its_own(leakage):
    controls = BLIND | {"prior_only": values(**FOUND), "no_statistics": values(wave=-0.3)}
    got = leakage(values(wave=0.9, psnr=5.0, **FOUND), granted=0.5, **controls)
    assert (got.gradient, got.statistics, got.leaks) == (("pixels",), ("identity",), ("pixels", "identity"))


def test_what_leaks_from_gradient_or_statistics_is_no_acquittal(leakage):
    """The statistics alone name two images of eight, too few to say; another gradient with them is as good as ours."""
    few = [0.0 if batch < 2 else NULL["identity_lowpass"] for batch in range(BATCHES)]
    blind = {name: {"identity_lowpass": values()["identity_lowpass"]} for name in ("no_statistics", "mean_image")}
    attack = {"identity_lowpass": [0.01 * batch for batch in range(BATCHES)]}
    got = leakage(attack, granted=0.5, prior_only={"identity_lowpass": few}, other_gradient=attack, **blind)
    assert (got.gradient, got.statistics, got.either, got.leaks) == ((), (), ("identity",), ("identity",))
    # Without a grant there is one source, and a control that is as good has it all.
    assert leakage(attack, granted=0.0, other_gradient=attack, **blind).leaks == ()
    # Nothing that any batch's statistics give.
    either = {"prior_only": attack, "other_gradient": attack, "other_statistics": attack, **blind}
    assert leakage(attack, granted=0.5, **either).leaks == ()
    # Nothing that the attack itself does not reach.
    assert leakage({"identity_lowpass": few}, granted=0.5, prior_only=attack, **blind).either == ()


def test_a_skipped_control_without_statistics_is_none(leakage):
    """Beating the mean image alone says nothing of the statistics."""
    controls = BLIND | {"prior_only": values(**FOUND), "no_statistics": {"ssim": ZERO}}
    assert leakage(values(wave=0.9, **FOUND), granted=0.5, **controls).statistics is None


def test_without_grants_or_their_control_nobody_speaks_of_statistics(leakage):
    both = BLIND | {"prior_only": values(**FOUND), "no_statistics": values(wave=-0.3)}
    assert leakage(values(), granted=0.0, **both).statistics is None
    without = {name: control for name, control in both.items() if name != "no_statistics"}
    assert leakage(values(), granted=0.5, **without).statistics is None
    without = {name: control for name, control in both.items() if name != "prior_only"}
    assert leakage(values(), granted=0.5, **without).statistics is None


@pytest.mark.parametrize("rival", ["no_statistics", "other_statistics", "same_class", "mean_image"])
def test_what_labels_or_smoothness_give_already_is_not_the_statistics(leakage, rival):
    controls = BLIND | {"prior_only": values(**FOUND), "no_statistics": values(wave=-0.3)}
    controls[rival] = values(wave=0.7, **FOUND)
    assert leakage(values(**FOUND), granted=0.5, **controls).statistics == ()


def test_labels_and_priors_are_compared_with_the_mean_image(leakage):
    priors = values(wave=-0.3, structure=4.0)
    controls = {"mean_image": values(wave=0.2), "same_class": values(wave=0.4, psnr=5.0), "prior_only": priors}
    got = leakage(values(), granted=0.0, **controls)
    assert (got.labels, got.prior, got.leaks) == (("pixels",), ("structure",), ())
    # With granted statistics `prior_only` has them: what the priors alone give is `no_statistics`.
    got = leakage(values(), granted=0.5, **controls, no_statistics=values(wave=-0.4))
    assert got.prior == ()
    assert leakage(values(), granted=0.5, **controls).prior is None
    without = {name: control for name, control in controls.items() if name != "mean_image"}
    assert (leakage(values(), **without).labels, leakage(values(), **without).prior) == (None, None)


def test_batches_of_other_images_are_not_compared(make_sample, make_controls):
    attack = make_sample("dlg", values(psnr=5.0))
    controls = make_controls(mean_image=values())
    others = {(batch, f"{image}x"): value for (batch, image), value in controls["mean_image"].values["psnr"].items()}
    foreign = controls["mean_image"].__class__(controls["mean_image"].cell, {"psnr": others}, "records")
    assert leakage_of(attack, controls).gradient == ("pixels",)
    assert leakage_of(attack, {"mean_image": foreign}).gains == {}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [2, 8, 50])
def test_the_one_sided_test_is_scipys(seed, n):
    sample = np.random.default_rng(seed).exponential(1.0, n) - 0.8
    expected = stats.ttest_1samp(sample, 0, alternative="greater")
    assert one_sided(sample.tolist()) == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(("sample", "p"), [([0.2] * 8, 0.0), ([0.0] * 8, 1.0), ([-0.2] * 8, 1.0)])
def test_differences_that_are_all_equal_are_certain(sample, p):
    assert one_sided(sample) == p


def test_below_two_batches_there_is_no_test():
    assert math.isnan(one_sided([3.0]))
    assert math.isnan(one_sided([]))


def test_the_gains_p_is_that_of_the_hardest_control():
    random = np.random.default_rng(0)
    attack = dict(enumerate(random.normal(1.0, 1.0, 12)))
    controls = {name: dict(enumerate(random.normal(mean, 1.0, 12))) for name, mean in (("a", 0.0), ("b", 0.8))}
    gain = gain_over_controls(attack, controls, higher_is_better=False)
    every = [
        stats.ttest_rel([*control.values()], [*attack.values()], alternative="greater").pvalue
        for control in controls.values()
    ]
    assert gain.p == pytest.approx(max(every))
    lone = gain_over_controls(attack, {"a": controls["a"], "c": {0: 0.0}}, higher_is_better=True)
    assert math.isnan(lone.p), "a control of one batch cannot be beaten"
