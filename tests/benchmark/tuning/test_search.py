"""The search over a function whose optimum is known: the published setting first, every range kept, pruning fair."""

import math

import pytest

from gradinv.benchmark.tuning.search import GENERATION, Tried, best_of, search
from gradinv.benchmark.tuning.space import TuneError, space_of

RANGES = {"a": (1e-4, 1e2), "b": (1e-2, 1e2)}
PUBLISHED = {"a": 0.1, "b": 1.0}


def hill(values, batch):
    """Best, 0, at a = 1e-3 and b = 10; batches differ by a constant."""
    return -((math.log10(values["a"]) + 3) ** 2) - (math.log10(values["b"]) - 1) ** 2 - 0.5 * batch


def found(measure=None, *, published=PUBLISHED, trials=40, batches=3, direction="higher", seed=0):
    measure = measure or (lambda settings, batch: [hill(values, batch) for values in settings])
    *_, every = search(
        RANGES, published, measure, trials=trials, batches=batches, direction=direction, seed=seed
    )  # fmt: skip
    return every


def test_the_published_setting_is_first_and_what_is_found_is_nearer_to_the_optimum():
    every = found()
    best = best_of(every, "higher")
    assert len(every) == 40
    assert every[0].values == PUBLISHED
    assert every[0].score == pytest.approx(-4 - 1 - 0.5)
    assert best.score > -1.0
    assert best.score == max(tried.score for tried in every if tried.is_complete)
    for tried in every:
        assert all(low <= tried.values[name] <= high for name, (low, high) in RANGES.items())


def test_settings_are_spread_over_decades():
    """Uniformly in the logarithm: of the random ones of many searches half lie below the middle decade."""
    first = [tried.values["a"] for seed in range(40) for tried in found(trials=GENERATION, batches=1, seed=seed)[1:]]
    assert 0.4 < sum(a < 0.1 for a in first) / len(first) < 0.6


def test_equal_requests_find_equal_settings_and_other_seeds_others():
    values = [[tried.values for tried in found(seed=seed)] for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]


def test_lower_is_better_where_the_metric_says_so():
    every = found(lambda settings, batch: [-hill(values, batch) for values in settings], direction="lower")
    assert best_of(every, "lower").score < 1.0
    assert best_of(every, "lower").score == min(tried.score for tried in every if tried.is_complete)


def test_what_is_given_up_was_among_the_worse_and_never_the_published_one():
    every = found(published={"a": 1e2, "b": 1e-2}, batches=4)
    pruned = [tried for tried in every if tried.pruned]
    assert pruned
    assert len(every[0].scores) == 4
    assert all(2 <= len(tried.scores) < 4 for tried in pruned)
    assert not any(tried.pruned for tried in every[:GENERATION]), "there is nothing to compare the first ones with"
    complete = sorted(tried.scores[0] for tried in every if tried.is_complete)
    assert all(tried.scores[0] < complete[-1] for tried in pruned)


def test_every_setting_is_scored_on_the_same_batches():
    asked = []

    def measure(settings, batch):
        asked.append((batch, len(settings)))
        return [hill(values, batch) for values in settings]

    found(measure, trials=GENERATION, batches=3)
    assert asked == [(0, GENERATION), (1, GENERATION), (2, GENERATION)]


def test_settings_without_a_score_are_passed_over():
    def broken_above(settings, batch):
        return [math.nan if values["a"] > 1e-2 else hill(values, batch) for values in settings]

    every = found(broken_above)
    assert best_of(every, "higher").values["a"] <= 1e-2
    assert len(every[0].scores) == 1, "the published one has no score, so that it is not measured further"
    with pytest.raises(TuneError, match="no setting could be scored"):
        best_of([Tried({"a": 1.0}, [math.nan]), Tried({"a": 1.0}, [1.0], pruned=True)], "higher")


def test_a_space_is_around_the_preset_s_own_values_and_leaves_out_what_is_off_or_set():
    space = space_of("gradinversion.no_tv[lr=0.05]")
    assert space.published == {"alpha_l2": 1e-6, "alpha_bn": 0.1, "alpha_noise": 0.2}
    assert space.ranges["alpha_bn"] == pytest.approx((1e-5, 1e3))
    assert space.key_of({**space.published, "alpha_bn": 0.0123456}) == (
        "gradinversion.no_tv[alpha_bn=0.01235,alpha_l2=1e-06,alpha_noise=0.2,lr=0.05]"
    )
    assert "alpha_group" in space_of("gradinversion").ranges
    with pytest.raises(TuneError, match="sets all that there is to tune"):
        space_of("dlg[lr=0.5]")
    with pytest.raises(TuneError, match="april declares no hyperparameter to tune"):
        space_of("april")
