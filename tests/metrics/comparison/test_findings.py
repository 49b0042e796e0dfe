"""Which rows may meet, what is said of the others, and what the findings hold."""

import numpy as np
import pytest

from gradinv.metrics.comparison.findings import Findings, findings_of
from gradinv.metrics.comparison.meetings import NotComparableError, find_key
from gradinv.metrics.records.record import CLOSED_FORM
from gradinv.metrics.records.samples import pooled, samples_of


def trials(make_record, attack, level, n=10, seed=0, **changes):
    """Records of one attack over n batches of two images, scattered about a PSNR of `level`."""
    random = np.random.default_rng([seed, len(attack)])
    return [make_record(attack, r, random.normal(level, 0.5, 2), **changes) for r in range(n)]


@pytest.fixture
def meet(make_record):
    """`meet(rows, ...)`: the findings about `mine` against `dlg` and what is said beside them."""

    def run(*rows, baselines=("dlg",), any_budget=False):
        records = [record for row in rows for record in row]
        return findings_of(samples_of(records, "runs"), "mine", baselines, any_budget=any_budget)

    return run


def outcomes(findings: Findings) -> dict[str, str]:
    return {comparison.metric: comparison.outcome for comparison in findings.comparisons}


def test_a_better_attack_is_better_and_equal_metrics_are_equal(make_record, meet):
    results, notes = meet(trials(make_record, "mine", 20), trials(make_record, "dlg", 15))
    assert notes == []
    assert outcomes(results[0]) == {
        "psnr": "better",
        "ssim": "better",
        "gmsd": "equal",
        "fft2d": "equal",
        "label_accuracy": "equal",
    }
    assert results[0].not_measured == ["structure", "lpips_alex", "lpips_vgg", "identity_lowpass"]
    assert (results[0].n_batches, results[0].n_images, results[0].budgets) == (10, 20, "")
    assert results[0].optimality["psnr"][0] > 0.99 > results[0].optimality["psnr"][1]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("labels", "none", "labels known against none"),
        ("bn_statistics", "running", "bn_statistics none against running"),
        ("adaptive", True, "adaptive False against True"),
        ("update", "fedavg(steps=2)", r"update gradient against fedavg\(steps=2\)"),
        ("batch_size", 4, "batch_size 2 against 4"),
        ("precision", "bf16", "the nearest rows differ in precision float32 against bf16"),
        ("dataset", "cifar10", "dataset photos against cifar10"),
        ("budget", "1600", "unequal budgets: mine had 400 evaluations, dlg 1600; .* --allow-unequal-budget"),
    ],
)
def test_rows_that_were_granted_different_things_never_meet(make_record, meet, field, value, words):
    baseline = {"budget": "400"} | {field: value}
    with pytest.raises(NotComparableError, match=words) as error:
        meet(trials(make_record, "mine", 20, budget="400"), trials(make_record, "dlg", 15, **baseline))
    assert "\n" not in str(error.value)


def test_a_row_without_partner_is_named_and_the_others_are_compared(make_record, meet):
    baseline = trials(make_record, "dlg", 15)
    results, notes = meet(trials(make_record, "mine", 20), trials(make_record, "mine", 20, batch_size=8), baseline)
    assert len(results) == 1
    assert len(notes) == 1
    assert "batch size 8: the nearest row of dlg differs in batch_size 8 against 2" in notes[0]


def test_precisions_meet_their_own_only(make_record, meet):
    coarse = {"precision": "tf32"}
    rows = [
        trials(make_record, key, level, **changes)
        for key, level in (("mine", 20), ("dlg", 15))
        for changes in ({}, coarse)
    ]
    results, notes = meet(*rows)
    assert notes == []
    assert {findings.meeting.setting["precision"] for findings in results} == {"float32", "tf32"}
    for findings in results:
        assert {sample.cell.precision for sample in (*findings.meeting.attack, *findings.meeting.baseline)} == {
            findings.meeting.setting["precision"]
        }
    with pytest.raises(NotComparableError, match="compared with itself"):
        meet(*rows, baselines=("mine",))


def test_other_budgets_meet_only_when_asked_to(make_record, meet):
    attack = trials(make_record, "mine", 20, budget="1600", evaluations=1600)
    baseline = trials(make_record, "dlg", 15, budget="400", evaluations=400)
    results, _ = meet(attack, baseline, any_budget=True)
    assert results[0].budgets == "unequal budgets: 1,600 against 400 evaluations"
    assert results[0].optimality == {}, "it is defined at equal budgets only"
    equal_budget = trials(make_record, "dlg", 15, budget="1600", evaluations=1600)
    results, _ = meet(attack, baseline, equal_budget, any_budget=True)
    assert [findings.budgets for findings in results] == [""], "a baseline of the same budget comes first"


def test_what_was_spent_decides_where_the_budget_is_the_papers_own(make_record, meet):
    spent = {"budget": "paper"}
    rows = trials(make_record, "mine", 20, evaluations=500, **spent), trials(make_record, "dlg", 15, **spent)
    assert meet(*rows)[0][0].budgets == "unequal budgets: 500 against 100 evaluations"


def test_spending_more_than_granted_is_another_budget(make_record, meet):
    attack = trials(make_record, "mine", 20, budget="100", evaluations=300)
    assert meet(attack, trials(make_record, "dlg", 15, budget="100"))[0][0].budgets.startswith("unequal budgets: 300")


def test_stopping_early_is_not(make_record, meet):
    attack = trials(make_record, "mine", 20, budget="100", evaluations=30)
    assert meet(attack, trials(make_record, "dlg", 15, budget="100"))[0][0].budgets == ""


def test_seeds_stand_side_by_side(make_record, meet):
    rows = [
        trials(make_record, key, level, seed=seed, victim_seed=seed)
        for key, level in (("mine", 20), ("dlg", 15))
        for seed in range(3)
    ]
    results, _ = meet(*rows, trials(make_record, "mine", 20, victim_seed=7))
    assert [list(findings.meeting.pairs) for findings in results] == [[0, 1, 2]]
    assert outcomes(results[0])["psnr"] == "better"
    assert (results[0].n_batches, results[0].n_images) == (10, 60)


def test_one_family_holds_all_metrics_and_baselines_of_a_setting(make_record, meet):
    attack = trials(make_record, "mine", 15.5, seed=1)
    rows = attack, trials(make_record, "dlg", 15), trials(make_record, "idlg", 15, seed=2)
    alone = meet(*rows)[0][0].comparisons[0]
    several = meet(*rows, baselines=["dlg", "idlg"])[0]
    assert [findings.against for findings in several] == ["dlg", "idlg"]
    assert several[0].comparisons[0].p == alone.p
    assert several[0].comparisons[0].adjusted > alone.adjusted
    assert several[0].optimality["psnr"][0] == several[1].optimality["psnr"][0], "one ensemble of three"


def test_controls_are_beaten_seed_by_seed(make_record, meet):
    controls = trials(make_record, "mean_image", 17, is_control=True)
    dlg_control = trials(make_record, "other_gradient", 10, preset="dlg", is_control=True)
    results, _ = meet(trials(make_record, "mine", 20), trials(make_record, "dlg", 15), controls, dlg_control)
    assert results[0].beaten == ((1, 1), (0, 1))
    assert meet(trials(make_record, "mine", 20), trials(make_record, "dlg", 15))[0][0].beaten == ((0, 0), (0, 0))
    once = trials(make_record, "mine", 20, n=1), trials(make_record, "dlg", 15, n=1), controls
    assert meet(*once)[0][0].beaten == ((0, 0), (0, 0)), "one batch tells nothing"


def test_diverged_trials_are_scored_and_failed_ones_counted(make_record, meet):
    attack = [*trials(make_record, "mine", 20, n=8), make_record("mine", 8, state="failed", order=8)]
    attack[0] = attack[0].model_copy(update={"state": "diverged"})
    results, _ = meet(attack, trials(make_record, "dlg", 15))
    assert (results[0].n_batches, results[0].meeting.attack[0].n_failed, results[0].meeting.attack[0].n_diverged) == (
        8,
        1,
        1,
    )


def test_a_metric_of_an_unknown_plugin_is_named_and_left_out(make_record, meet):
    def with_mine(records):
        for record in records:
            images = [image.model_copy(update={"metrics": {"of_nobody": 1.0}}) for image in record.images]
            yield record.model_copy(update={"images": images})

    rows = (list(with_mine(trials(make_record, key, 20))) for key in ("mine", "dlg"))
    results, notes = meet(*rows)
    assert notes == ["of_nobody: not compared, as its plug-in is not loaded; pass --plugin FILE"]
    assert set(outcomes(results[0])) == {"label_accuracy"}


@pytest.mark.parametrize(
    ("key", "words"), [("dgl", "did you mean dlg?"), ("dlg[lr=2]", "unknown attack"), ("mean_image", "unknown attack")]
)
def test_keys_that_are_not_there(make_record, key, words):
    rows = trials(make_record, "dlg", 15) + trials(make_record, "mean_image", 15, is_control=True)
    with pytest.raises(NotComparableError) as error:
        find_key(key, samples_of(rows, "runs"))
    assert words in str(error.value)


def test_an_attack_is_not_compared_with_itself_nor_with_what_has_no_values(make_record, meet):
    attack = trials(make_record, "mine", 20)
    with pytest.raises(NotComparableError, match="with itself"):
        meet(attack, baselines=["mine"])
    with pytest.raises(NotComparableError, match="no trial of dlg has values"):
        meet(attack, [make_record("dlg", 0, state="failed", reason="no")])


def test_records_come_before_boards(make_record):
    first, second = (samples_of(trials(make_record, "dlg", level), name) for level, name in ((10, "runs"), (20, "b")))
    only_published = samples_of(trials(make_record, "idlg", 20), "b")
    assert [(sample.key, sample.source) for sample in pooled([first, second, only_published])] == [
        ("dlg", "runs"),
        ("idlg", "b"),
    ]


def test_a_closed_form_may_be_cheaper_and_nothing_else_may(make_record, meet):
    dear = trials(make_record, "dlg", 15, budget="paper", evaluations=900)
    cheap = trials(make_record, "mine", 20, budget="paper", evaluations=3, stopped=CLOSED_FORM)
    (findings,), _ = meet(cheap, dear)
    assert findings.budgets == ""
    for mine, others in (
        (trials(make_record, "mine", 20, budget="paper", evaluations=3), dear),
        (trials(make_record, "mine", 20, budget="paper", evaluations=9_000, stopped=CLOSED_FORM), dear),
        ([*cheap[:-1], *trials(make_record, "mine", 20, budget="paper", evaluations=3)[-1:]], dear),
    ):
        (findings,), _ = meet(mine, others)
        assert "unequal budgets" in findings.budgets
