"""Which rows may meet, what is said of the others, and what a report holds."""

import numpy as np
import pytest
from gradinv.metrics.comparison.findings import Report, reports
from gradinv.metrics.comparison.meetings import NotComparableError, find_key
from gradinv.metrics.records.samples import pooled, samples_of


def trials(make_record, attack, level, n=10, seed=0, **changes):
    """Records of one attack over n batches of two images, scattered about a PSNR of `level`."""
    random = np.random.default_rng([seed, len(attack)])
    return [make_record(attack, r, random.normal(level, 0.5, 2), **changes) for r in range(n)]


@pytest.fixture
def meet(make_record):
    """`meet(rows, ...)`: the reports of `mine` against `dlg` and what is said beside them."""

    def run(*rows, baselines=("dlg",), any_budget=False):
        records = [record for row in rows for record in row]
        return reports(samples_of(records, "runs"), "mine", baselines, any_budget=any_budget)

    return run


def outcomes(report: Report) -> dict[str, str]:
    return {one.metric: one.outcome for one in report.comparisons}


def test_a_better_attack_is_better_and_equal_metrics_are_equal(make_record, meet):
    found, notes = meet(trials(make_record, "mine", 20), trials(make_record, "dlg", 15))
    assert notes == []
    assert outcomes(found[0]) == {
        "psnr": "better",
        "ssim": "better",
        "gmsd": "equal",
        "fft2d": "equal",
        "label_accuracy": "equal",
    }
    assert found[0].not_measured == ["lpips_alex", "lpips_vgg"]
    assert (found[0].n_batches, found[0].n_images, found[0].budgets) == (10, 20, "")
    assert found[0].optimality["psnr"][0] > 0.99 > found[0].optimality["psnr"][1]


@pytest.mark.parametrize(
    ("field", "value", "said"),
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
def test_rows_that_were_granted_different_things_never_meet(make_record, meet, field, value, said):
    theirs = {"budget": "400"} | {field: value}
    with pytest.raises(NotComparableError, match=said) as error:
        meet(trials(make_record, "mine", 20, budget="400"), trials(make_record, "dlg", 15, **theirs))
    assert "\n" not in str(error.value)


def test_a_row_without_partner_is_named_and_the_others_are_compared(make_record, meet):
    theirs = trials(make_record, "dlg", 15)
    found, notes = meet(trials(make_record, "mine", 20), trials(make_record, "mine", 20, batch_size=8), theirs)
    assert len(found) == 1
    assert len(notes) == 1
    assert "batch size 8: the nearest row of dlg differs in batch_size 8 against 2" in notes[0]


def test_precisions_meet_their_own_only(make_record, meet):
    coarse = {"precision": "tf32"}
    rows = [
        trials(make_record, key, level, **own) for key, level in (("mine", 20), ("dlg", 15)) for own in ({}, coarse)
    ]
    found, notes = meet(*rows)
    assert notes == []
    assert [report.meeting.setting["precision"] for report in found] == ["float32", "tf32"]
    for report in found:
        assert {sample.setting["precision"] for sample in (*report.meeting.ours, *report.meeting.theirs)} == {
            report.meeting.setting["precision"]
        }
    with pytest.raises(NotComparableError, match="compared with itself"):
        meet(*rows, baselines=("mine",))


def test_other_budgets_meet_only_when_asked_to(make_record, meet):
    mine = trials(make_record, "mine", 20, budget="1600", evaluations=1600)
    theirs = trials(make_record, "dlg", 15, budget="400", evaluations=400)
    found, _ = meet(mine, theirs, any_budget=True)
    assert found[0].budgets == "unequal budgets: 1,600 against 400 evaluations"
    assert found[0].optimality == {}, "it is defined at equal budgets only"
    own = trials(make_record, "dlg", 15, budget="1600", evaluations=1600)
    found, _ = meet(mine, theirs, own, any_budget=True)
    assert [report.budgets for report in found] == [""], "a baseline of the same budget comes first"


def test_what_was_spent_decides_where_the_budget_is_the_papers_own(make_record, meet):
    spent = {"budget": "paper"}
    rows = trials(make_record, "mine", 20, evaluations=500, **spent), trials(make_record, "dlg", 15, **spent)
    assert meet(*rows)[0][0].budgets == "unequal budgets: 500 against 100 evaluations"


def test_spending_more_than_granted_is_another_budget(make_record, meet):
    mine = trials(make_record, "mine", 20, budget="100", evaluations=300)
    assert meet(mine, trials(make_record, "dlg", 15, budget="100"))[0][0].budgets.startswith("unequal budgets: 300")


def test_stopping_early_is_not(make_record, meet):
    mine = trials(make_record, "mine", 20, budget="100", evaluations=30)
    assert meet(mine, trials(make_record, "dlg", 15, budget="100"))[0][0].budgets == ""


def test_seeds_stand_side_by_side(make_record, meet):
    rows = [
        trials(make_record, key, level, seed=seed, victim_seed=seed)
        for key, level in (("mine", 20), ("dlg", 15))
        for seed in range(3)
    ]
    found, _ = meet(*rows, trials(make_record, "mine", 20, victim_seed=7))
    assert [list(report.meeting.pairs) for report in found] == [[0, 1, 2]]
    assert outcomes(found[0])["psnr"] == "better"
    assert (found[0].n_batches, found[0].n_images) == (10, 60)


def test_one_family_holds_all_metrics_and_baselines_of_a_setting(make_record, meet):
    mine = trials(make_record, "mine", 15.5, seed=1)
    rows = mine, trials(make_record, "dlg", 15), trials(make_record, "idlg", 15, seed=2)
    alone = meet(*rows)[0][0].comparisons[0]
    both = meet(*rows, baselines=["dlg", "idlg"])[0]
    assert [report.against for report in both] == ["dlg", "idlg"]
    assert both[0].comparisons[0].p == alone.p
    assert both[0].comparisons[0].adjusted > alone.adjusted
    assert both[0].optimality["psnr"][0] == both[1].optimality["psnr"][0], "one ensemble of three"


def test_controls_are_beaten_seed_by_seed(make_record, meet):
    controls = trials(make_record, "mean_image", 17, is_control=True)
    own = trials(make_record, "other_gradient", 10, preset="dlg", is_control=True)
    found, _ = meet(trials(make_record, "mine", 20), trials(make_record, "dlg", 15), controls, own)
    assert found[0].beaten == ((1, 1), (0, 1))
    assert meet(trials(make_record, "mine", 20), trials(make_record, "dlg", 15))[0][0].beaten == ((0, 0), (0, 0))
    once = trials(make_record, "mine", 20, n=1), trials(make_record, "dlg", 15, n=1), controls
    assert meet(*once)[0][0].beaten == ((0, 0), (0, 0)), "one batch tells nothing"


def test_diverged_trials_are_scored_and_failed_ones_counted(make_record, meet):
    mine = [*trials(make_record, "mine", 20, n=8), make_record("mine", 8, state="failed", order=8)]
    mine[0] = mine[0].model_copy(update={"state": "diverged"})
    found, _ = meet(mine, trials(make_record, "dlg", 15))
    assert (found[0].n_batches, found[0].meeting.ours[0].n_failed, found[0].meeting.ours[0].n_diverged) == (8, 1, 1)


def test_a_metric_of_an_unknown_plugin_is_named_and_left_out(make_record, meet):
    def with_mine(records):
        for record in records:
            images = [image.model_copy(update={"metrics": {"of_nobody": 1.0}}) for image in record.images]
            yield record.model_copy(update={"images": images})

    rows = (list(with_mine(trials(make_record, key, 20))) for key in ("mine", "dlg"))
    found, notes = meet(*rows)
    assert notes == ["of_nobody: not compared, as its plug-in is not loaded; pass --plugin FILE"]
    assert set(outcomes(found[0])) == {"label_accuracy"}


@pytest.mark.parametrize(
    ("key", "said"), [("dgl", "did you mean dlg?"), ("dlg[lr=2]", "unknown attack"), ("mean_image", "unknown attack")]
)
def test_keys_that_are_not_there(make_record, key, said):
    rows = trials(make_record, "dlg", 15) + trials(make_record, "mean_image", 15, is_control=True)
    with pytest.raises(NotComparableError) as error:
        find_key(key, samples_of(rows, "runs"))
    assert said in str(error.value)


def test_an_attack_is_not_compared_with_itself_nor_with_what_has_no_values(make_record, meet):
    mine = trials(make_record, "mine", 20)
    with pytest.raises(NotComparableError, match="with itself"):
        meet(mine, baselines=["mine"])
    with pytest.raises(NotComparableError, match="no trial of dlg has values"):
        meet(mine, [make_record("dlg", 0, state="failed", reason="no")])


def test_records_come_before_boards(make_record):
    first, second = (samples_of(trials(make_record, "dlg", level), name) for level, name in ((10, "runs"), (20, "b")))
    other = samples_of(trials(make_record, "idlg", 20), "b")
    assert [(sample.key, sample.source) for sample in pooled([first, second, other])] == [
        ("dlg", "runs"),
        ("idlg", "b"),
    ]
