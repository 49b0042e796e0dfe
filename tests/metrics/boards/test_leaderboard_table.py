"""The leaderboard says what the records say: checked against plain NumPy and pandas."""

import csv
import io
import math
import random

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gradinv.metrics.boards.columns import image_columns, leaderboard_columns
from gradinv.metrics.boards.leaderboard_table import images_frame, leaderboard, write_board
from gradinv.metrics.images.facts import board_metrics, facts_of


@pytest.fixture
def board(records):
    """The leaderboard of `records`, by key."""
    frame = leaderboard(records)
    return frame.assign(key=frame["attack"] + frame["preset"].map(lambda p: f".{p}" if p else "")).set_index("key")


def test_columns_are_the_documented_ones(records):
    assert list(leaderboard(records).columns) == list(leaderboard_columns())
    assert list(images_frame(records).columns) == list(image_columns())


def test_documented_directions_and_ranges_are_those_of_the_metrics():
    for name in board_metrics():
        facts, columns = facts_of(name), leaderboard_columns()
        mean, low, high = (columns[f"{name}_{part}"] for part in ("mean", "low", "high"))
        assert {column.direction for column in (mean, low, high)} == {facts.direction}
        assert {column.unit for column in (mean, low, high)} == {facts.unit or "1"}
        assert mean.meaning.startswith(facts.meaning)
        assert (mean.low, mean.high) == (facts.low, min(facts.high, facts.cap))
        assert low.range == high.range == mean.range
        if facts.per == "image":
            assert image_columns()[name].meaning == facts.meaning
            assert (image_columns()[name].low, image_columns()[name].high) == (facts.low, facts.high)


def test_means_and_intervals_are_those_over_batches(board):
    means = np.array([(20.0 + 24.0) / 2, (21.0 + 24.0) / 2, (22.0 + 24.0) / 2])
    half = stats.t.ppf(0.975, 2) * means.std(ddof=1) / math.sqrt(3)
    row = board.loc["dlg"]
    assert row["psnr_mean"] == pytest.approx(means.mean())
    assert row["psnr_low"] == pytest.approx(means.mean() - half)
    assert row["psnr_high"] == pytest.approx(means.mean() + half)
    assert row["ssim_mean"] == pytest.approx(means.mean() / 50)
    assert (row["n_batches"], row["n_images"], row["evaluations"], row["seconds_mean"]) == (3, 6, 100, 1.5)


def test_gain_is_paired_with_the_best_of_all_controls(board):
    row = board.loc["dlg"]
    gains = np.array([22.0, 22.5, 23.0]) - 12.0
    half = stats.t.ppf(0.975, 2) * gains.std(ddof=1) / math.sqrt(3)
    assert row["best_control"] == "mean_image"
    assert row["psnr_gain_mean"] == pytest.approx(gains.mean())
    assert row["psnr_gain_low"] == pytest.approx(gains.mean() - half)
    assert row["works"] == "true"
    assert board.loc["idlg", "works"] == "false"
    assert set(board.loc[board["is_control"] == "true", "works"]) == {"false"}


def test_diverged_trials_are_scored_and_counted(board):
    row = board.loc["idlg"]
    assert (row["n_diverged"], row["n_batches"], row["state"]) == (1, 3, "diverged")
    assert row["psnr_mean"] == pytest.approx(np.mean([11.75, 12.25, 12.75]))


def test_a_skipped_cell_is_a_row_with_its_reason(board):
    row = board.loc["idlg.bn"]
    assert (row["state"], row["n_skipped"], row["n_batches"]) == ("skipped", 3, 0)
    assert row["notes"] == "skipped: idlg.bn needs batch-norm statistics, none are granted"
    assert math.isnan(row["psnr_mean"])
    assert math.isnan(row["evaluations"])


def test_failed_trials_are_counted_and_the_rest_is_scored(make_record):
    failed = make_record("dlg", 1, state="failed", reason="ValueError: no")
    memory = make_record("dlg", 2, state="oom", reason="out of memory")
    row = leaderboard([make_record("dlg", 0, (10.0, 20.0)), failed, memory]).iloc[0]
    assert (row["n_failed"], row["n_batches"], row["psnr_mean"], row["state"]) == (2, 1, 15.0, "failed")
    assert "failed: ValueError: no; oom: out of memory" in row["notes"]
    assert "one batch: no intervals" in row["notes"]


def test_infinity_counts_as_100_in_the_row_and_stays_in_the_image_table(make_record):
    records = [make_record("dlg", 0, (math.inf, 20.0), final_psnr=math.inf)]
    row = leaderboard(records).iloc[0]
    assert row["psnr_mean"] == 60.0
    assert row["final_psnr_mean"] == 100.0
    assert list(images_frame(records)["psnr"]) == [math.inf, 20.0]


def test_too_few_batches_and_missing_controls_give_no_verdict(make_record):
    control = make_record("mean_image", 0, (5.0, 5.0), is_control=True, order=5)
    row = leaderboard([make_record("dlg", 0, (20.0, 20.0)), control]).iloc[0]
    assert (row["best_control"], row["psnr_gain_mean"], row["works"]) == ("mean_image", 15.0, "false")
    assert "too few batches to say what leaks" in row["notes"]
    lost = control.model_copy(update={"state": "failed", "reason": "no memory", "images": []})
    row = leaderboard([make_record("dlg", 0, (20.0, 20.0)), lost]).iloc[0]
    assert "not compared with mean_image (failed: no memory)" in row["notes"]
    assert "no control has values for these batches" in row["notes"]
    assert (row["works"], row["leaks"]) == ("false", "")


def test_rows_granted_different_things_share_no_controls(make_record):
    control = [make_record("mean_image", r, (5.0,), is_control=True, labels="none", order=9) for r in range(3)]
    row = leaderboard([*(make_record("dlg", r, (20.0,)) for r in range(3)), *control]).iloc[0]
    assert row["best_control"] == ""


def test_an_unmeasured_metric_is_empty_and_says_why(board, make_record):
    assert math.isnan(board.loc["dlg", "lpips_alex_mean"])
    assert "lpips_alex: no weights" in board.loc["dlg", "notes"]
    row = leaderboard([make_record("dlg", 0, (1.0,), notes=[])]).iloc[0]
    assert "lpips_alex: measured in 0 of 1 batches" in row["notes"]


def test_metrics_of_plugins_get_their_columns(make_record):
    record = make_record("dlg", 0, (1.0,))
    image = record.images[0].model_copy(update={"metrics": {"mine": 3.0}})
    frame = leaderboard([record.model_copy(update={"images": [image]})])
    assert frame["mine_mean"].iloc[0] == 3.0
    assert list(frame.columns).index("mine_mean") == list(frame.columns).index("label_accuracy_high") + 1


def test_metrics_of_a_batch_have_columns_on_the_board_and_none_in_the_image_table(make_record):
    records = [make_record("dlg", r, (1.0,), metrics={"label_accuracy": 0.5, "mine": 2.0 + r}) for r in range(3)]
    frame = leaderboard(records)
    assert (frame["label_accuracy_mean"].iloc[0], frame["mine_mean"].iloc[0]) == (0.5, 3.0)
    assert list(images_frame(records).columns) == list(image_columns())


def test_why_a_budget_was_not_spent_stands_last_in_the_notes(make_record):
    row = leaderboard([make_record("dlg", r, (1.0,), stopped="below the tolerance") for r in range(2)]).iloc[0]
    assert row["notes"].endswith(
        "identity_lowpass: no pool; budget left: below the tolerance; no control has values for these batches"
    )


@pytest.mark.parametrize("dates", [("2025-01-01", "2025-01-02"), ("2025-01-02", "2025-01-01")])
def test_what_was_specified_differently_is_a_row_of_its_own_whatever_the_clock_says(make_record, dates):
    rows = [
        make_record("dlg", 0, (value,), date=date, specification=name, order=order)
        for order, value, date, name in zip((0, 1), (1.0, 2.0), dates, ("before", "edited"), strict=True)
    ]
    board = leaderboard(rows)
    assert list(zip(board["specification"], board["psnr_mean"], strict=True)) == [("before", 1.0), ("edited", 2.0)]


def test_image_table_has_one_row_per_scored_image(records):
    frame = images_frame(records)
    expected = [value for record in records for value in (image.metrics["psnr"] for image in record.images)]
    assert list(frame["psnr"]) == expected
    assert list(frame["key"].unique()) == ["dlg", "other_gradient of dlg", "mean_image", "idlg"]
    assert pd.DataFrame(frame.groupby("key")["batch"].nunique())["batch"].tolist() == [3, 3, 3, 3]


def test_precisions_are_rows_of_their_own_with_controls_of_their_own(make_record):
    levels = {"float32": 20.0, "bf16": 18.0}
    attacks = [
        make_record("dlg", r, (level + r,), precision=name, order=order)
        for order, (name, level) in enumerate(levels.items())
        for r in range(3)
    ]
    grey = [make_record("mean_image", r, (12.0,), is_control=True, order=9) for r in range(3)]
    frame = leaderboard([*attacks, *grey]).set_index(["attack", "precision"])
    assert frame["psnr_mean"].to_dict() == {
        ("dlg", "float32"): 21.0,
        ("dlg", "bf16"): 19.0,
        ("mean_image", "float32"): 12.0,
    }
    assert frame["n_batches"].tolist() == [3, 3, 3]
    assert frame["best_control"].tolist() == ["mean_image", "", ""]
    assert set(images_frame([*attacks, *grey]).groupby("precision")["key"].unique().map(tuple)) == {
        ("dlg", "mean_image"),
        ("dlg",),
    }


def test_rebuilding_is_bit_identical_and_independent_of_the_order(tmp_path, records):
    for name, order in (("a", records), ("b", random.Random(0).sample(records, len(records)))):
        write_board(order, tmp_path / name / "mine.csv")
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab")
    assert first == second
    assert sorted(first) == ["mine.csv", "mine.images.csv"]


def test_the_csv_holds_raw_numbers_in_full_precision(tmp_path, make_record):
    value = 1234.1 / 3
    path = tmp_path / "board.csv"
    write_board([make_record("dlg", 0, (1.0,), objective_end=value)], path)
    row = next(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert float(row["objective_end"]) == value
    assert "," not in row["objective_end"]
    assert (row["lpips_vgg_mean"], row["batch_size"], row["adaptive"], row["schema"]) == ("", "2", "false", "5")
    assert row["versions"] == "numpy 2.4.6, torch 2.9.0"


def test_no_records_make_an_empty_board_with_all_columns():
    assert list(leaderboard([]).columns) == list(leaderboard_columns())
    assert len(images_frame([])) == 0


def test_an_exact_image_has_its_rows_and_counts_as_recovered(make_record):
    """Its PSNR is infinite, which is no rank; what was proved is counted beside it."""
    records = [make_record("dlg", r, (math.inf, 20.0)) for r in range(3)]
    proved = [
        record.model_copy(
            update={
                "images": [
                    image.model_copy(
                        update={"details": {"identity_pool": 10.0, "recovered": 1.0 - slot, "certified": 1.0}}
                    )
                    for slot, image in enumerate(record.images)
                ]
            }
        )
        for record in records
    ]
    (row,) = leaderboard(proved).to_dict("records")
    assert row["psnr_mean"] == 60
    assert (row["n_recovered"], row["recovered_low"], row["recovered_high"]) == (3, 0.5, 0.5)
    assert (row["n_certified"], row["certified_high"]) == (6, 1.0)
    assert 0.2 < row["certified_low"] < 0.4
    (silent,) = leaderboard(records).to_dict("records")
    assert pd.isna(silent["n_recovered"])
    assert pd.isna(silent["n_certified"])


def test_shares_of_images_recovered_and_identified_with_intervals_over_batches(make_record):
    """Two batches of two; in the second the judges disagree about the second image."""
    scores = [((31.0, 19.9), (0.0, 0.5)), ((20.0, 25.0), (0.0, 0.0))]
    records = []
    for repetition, (psnr, ranks) in enumerate(scores):
        record, images = make_record("dlg", repetition, psnr), []
        for slot, (image, rank) in enumerate(zip(record.images, ranks, strict=True)):
            second = 0.1 if (repetition, slot) == (1, 1) else rank
            metrics = image.metrics | {"identity_lowpass": rank, "identity_net": second}
            images.append(image.model_copy(update={"metrics": metrics, "details": {"identity_pool": 1000.0}}))
        records.append(record.model_copy(update={"images": images, "victim_accuracy": 0.57}))
    row = leaderboard(records).iloc[0]
    assert (row["psnr20_share"], row["psnr30_share"], row["identified_share"]) == (0.5, 0.25, 0.5)
    assert row["victim_accuracy"] == pytest.approx(0.57)
    # By hand: of batch shares 0.5 and 0.0 Student's interval, cut off at what a share can be.
    half = 12.7062 * 0.25
    assert (row["psnr30_low"], row["psnr30_high"]) == pytest.approx((max(0, 0.25 - half), min(1, 0.25 + half)))


def test_all_or_nothing_has_the_exact_interval_and_what_nobody_looked_for_is_empty(make_record):
    row = leaderboard([make_record("dlg", r, (35.0,)) for r in range(10)]).iloc[0]
    assert (row["psnr20_share"], row["psnr20_high"]) == (1.0, 1.0)
    assert row["psnr20_low"] == pytest.approx(0.025**0.1)
    assert pd.isna(row["identified_share"])
    assert pd.isna(row["victim_accuracy"])
