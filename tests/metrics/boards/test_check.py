"""A sound board passes; each thing that must not be published is one line with its place."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from gradinv.metrics.boards.check import Checked, check_board
from gradinv.metrics.boards.leaderboard_table import write_board
from gradinv.metrics.boards.rebuild import rebuilt
from gradinv.metrics.boards.rows import BoardError
from gradinv.metrics.boards.rules import _verdict_on_respects

PUBLISHED = Path(__file__).parents[3] / "leaderboards"


@pytest.fixture
def records(make_record):
    """An attack over eight batches of two images with its controls, one of them skipped."""

    def rows(attack, level, order, **changes):
        defaults = {"budget": "100", "evaluations": 100} | changes
        return [make_record(attack, r, (level + r % 3, level + 4), order=order, **defaults) for r in range(8)]

    control = {"is_control": True, "preset": "dlg"}
    skipped = {"state": "skipped", "reason": "no prior", "images": [], "evaluations": 0, "notes": []}
    return [
        *rows("dlg", 20.0, 0),
        *rows("other_gradient", 10.0, 1, **control),
        *rows("prior_only", 0.0, 2, **control, **skipped),
        *rows("mean_image", 12.0, 3, is_control=True, evaluations=0),
    ]


@pytest.fixture
def board(tmp_path, records) -> Path:
    """The board of `records` with its image table."""
    return published(records, tmp_path / "board.csv")


def published(records, path: Path) -> Path:
    write_board(records, path)
    return path


@pytest.fixture
def edited(board) -> Callable[..., Checked]:
    """`edited({column: value}, line=2)` checks the board after changing fields of one line; None takes the line out."""

    def check(changes: dict[str, str] | None, line: int = 2) -> Checked:
        with board.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        if changes is None:
            rows.pop(line - 2)
        else:
            rows[line - 2] |= changes
        with board.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return check_board(board)

    return check


def only(faults) -> str:
    """The one fault, which is one line."""
    assert len(faults) == 1, faults
    assert "\n" not in faults[0]
    return faults[0]


def test_a_sound_board_has_no_fault_and_no_warning(board):
    checked = check_board(board)
    assert (checked.faults, checked.warnings) == ([], [])
    assert [row.name for row in checked.rows][:2] == ["dlg (B=2)", "other_gradient of dlg (B=2)"]


@pytest.mark.parametrize("path", sorted(PUBLISHED.glob("*.images.csv")), ids=lambda path: path.name)
def test_published_boards_pass_and_say_where_no_claim_can_rest(path):
    checked = check_board(path.with_name(path.name.replace(".images.csv", ".csv")))
    assert checked.faults == []
    below = [row for row in checked.rows if row.words["works"] == "true" and row.n_batches < 8]
    assert sum("it is no claim" in line for line in checked.warnings) == len(below)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"schema": "6"}, "schema is 6, this version knows up to 5: upgrade"),
        ({"schema": "one"}, "schema is 'one', not a version from 1"),
        ({"bn_mode": "evil"}, "bn_mode is 'evil', not one of eval, train"),
        ({"labels": ""}, "labels is empty"),
        ({"is_control": "no"}, "is_control is 'no', not true or false"),
        ({"batch_size": "0"}, "batch_size is '0', not a count from 1"),
        ({"attack": ""}, "attack is empty"),
        ({"precision": "float16"}, "precision is 'float16', not one of float32, tf32, bf16"),
        ({"n_batches": "8.0"}, "n_batches is '8.0', not a count"),
        ({"psnr_mean": "101"}, "psnr_mean is 101, outside 0 to 100"),
        ({"psnr_mean": "nan"}, "psnr_mean is nan, outside 0 to 100"),
        ({"ssim_mean": "1.2"}, "ssim_mean is 1.2, outside -1 to 1"),
        ({"label_accuracy_mean": "-0.1"}, "label_accuracy_mean is -0.1, outside 0 to 1"),
        ({"slot_accuracy_mean": "2"}, "slot_accuracy_mean is 2, outside 0 to 1"),
        ({"seconds_mean": "-1"}, "seconds_mean is -1, outside 0 to inf"),
        ({"gmsd_mean": "low"}, "gmsd_mean is 'low', not a number"),
        ({"psnr_low": "30"}, "psnr_low is 30, above psnr_high"),
        ({"n_images": "15"}, "n_images is 15, not 8 batches of 2"),
        ({"n_failed": "2"}, "state is done, but 2 batches diverged, failed or were skipped"),
        ({"works": "false"}, "works is 'false', but from_gradient"),
        ({"gmsd_mean": "", "gmsd_low": "", "gmsd_high": ""}, "gmsd_mean is empty and notes give no reason"),
        ({"evaluations": "101"}, "spent 101 evaluations, its budget is 100"),
        ({"evaluations": "80"}, "spent 80 of 100 evaluations and no note says why (`budget left: ...`)"),
        ({"best_control": "noise_gradient"}, "best_control noise_gradient has no values in its setting"),
    ],
)
def test_a_wrong_row_is_named(edited, changes, fault):
    faults = edited(changes).faults
    assert fault in faults[0]
    assert "board.csv:2: " in faults[0]
    assert all("\n" not in line for line in faults)


def test_who_stops_early_and_says_so_keeps_the_budget(edited):
    empty = ("lpips_alex: no weights", "lpips_vgg: no weights", "structure: not measured", "identity_lowpass: no pool")
    notes = "; ".join(("budget left: stopped early", *empty))
    assert edited({"evaluations": "80", "notes": notes}).faults == []


@pytest.mark.parametrize(("line", "controls"), [(3, "other_gradient or prior_only"), (5, "mean_image or same_class")])
def test_an_attack_without_controls_is_refused(records, tmp_path, line, controls):
    left = {3: ("dlg", "mean_image"), 5: ("dlg", "other_gradient", "prior_only")}[line]
    board = published([record for record in records if record.cell.attack in left], tmp_path / "board.csv")
    assert f"board.csv:2: dlg (B=2): no control {controls} in its setting" in only(check_board(board).faults)


def test_a_control_that_was_skipped_with_its_reason_is_there(records, tmp_path):
    board = published([r for r in records if r.cell.attack != "other_gradient"], tmp_path / "board.csv")
    assert check_board(board).faults == []


def test_a_skipped_control_without_a_reason_is_refused(edited):
    assert "prior_only of dlg (B=2): no batch has values and notes give no reason" in edited({"notes": ""}, 4).faults[0]


def test_a_control_that_was_granted_something_else_is_named_with_the_field(records, tmp_path):
    moved = [
        record.model_copy(update={"cell": record.cell.model_copy(update={"labels": "none"})})
        if record.cell.is_control and record.cell.preset
        else record
        for record in records
    ]
    board = published(moved, tmp_path / "board.csv")
    fault = only(check_board(board).faults)
    assert "no control other_gradient or prior_only in its setting; " in fault
    assert fault.endswith("the nearest was granted something else: labels known against none")


def test_few_batches_are_no_claim(records, tmp_path):
    few = published([record for record in records if record.repetition < 7], tmp_path / "few.csv")
    checked = check_board(few)
    assert "no attack has 8 batches with its controls, the fewest that allow a claim" in only(checked.faults)
    assert "`works` rests on 7 batches; below 8 it is no claim" in only(checked.warnings)


def test_controls_of_fewer_batches_are_a_warning(records, make_record, tmp_path):
    further = make_record("dlg", 8, (20.0, 24.0), order=0, budget="100")
    board = published([*records, further], tmp_path / "board.csv")
    checked = check_board(board)
    assert checked.faults == []
    assert "some controls have values for 8 of its 9 batches only" in only(checked.warnings)


def test_a_leak_from_the_statistics_was_compared_with_those_of_another_batch(make_record, tmp_path):
    def rows(attack, level, order, **changes):
        granted = {"bn_statistics": "exact", "granted_numbers_per_pixel": 0.5, "budget": "100"} | changes
        return [make_record(attack, r, (level + r % 3, level + 4), order=order, **granted) for r in range(8)]

    control = {"is_control": True, "preset": "gradinversion"}
    records = [
        *rows("gradinversion", 20.0, 0),
        *rows("prior_only", 20.1, 1, **control),
        *rows("no_statistics", 9.0, 2, **control),
        *rows("mean_image", 12.0, 4, is_control=True, evaluations=0),
    ]
    (warning,) = check_board(published(records, tmp_path / "before.csv")).warnings
    assert "`from_statistics` was not compared with `other_statistics`" in warning
    records += rows("other_statistics", 10.0, 3, **control)
    assert check_board(published(records, tmp_path / "after.csv")).warnings == []


def test_a_row_twice_is_refused(board):
    lines = board.read_text(encoding="utf-8").splitlines()
    board.write_text("\n".join([*lines, lines[1]]) + "\n", encoding="utf-8")
    assert "board.csv:6: dlg (B=2): stands in line 2 too" in check_board(board).faults[0]


def test_a_mean_that_is_not_its_images_is_refused(edited):
    assert "psnr averages 22.4375, but 25 in the board beside it" in edited({"psnr_mean": "25"}).faults[0]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"psnr_high": "23.5"}, "psnr_high is 23.5, of its images"),
        ({"psnr_gain_mean": "9.5"}, "psnr_gain_mean is 9.5, of its images 8"),
        ({"psnr_gain_low": "7.9"}, "psnr_gain_low is 7.9, of its images 8"),
        ({"best_control": "other_gradient"}, "best_control is 'other_gradient', of its images mean_image"),
        ({"n_batches": "9", "n_images": "18"}, "n_batches is 9, its images are of 8"),
        ({"verdict": "no better than controls"}, "verdict is 'no better than controls', of its images"),
    ],
)
def test_a_gain_that_is_not_its_images_is_refused(edited, changes, fault):
    assert fault in edited(changes).faults[0]


def test_a_row_without_images_and_a_board_without_its_table(edited, board):
    images = board.with_suffix(".images.csv")
    lines = images.read_text(encoding="utf-8").splitlines()
    images.write_text("\n".join(line for line in lines if not line.startswith("mean_image")) + "\n", encoding="utf-8")
    assert "mean_image has a row in the board beside it, but no line here" in check_board(board).faults[0]
    images.unlink()
    assert "no image table lies beside it (board.images.csv)" in only(check_board(board).faults)


@pytest.mark.parametrize("column", ["psnr_mean", "is_control", "best_control", "schema"])
def test_a_missing_column_is_named(board, column):
    text = board.read_text(encoding="utf-8")
    board.write_text(text.replace(f",{column},", ",other,", 1), encoding="utf-8")
    with pytest.raises(BoardError, match=f"is no board of attacks: it has no column '{column}'"):
        check_board(board)


def test_a_board_is_rebuilt_from_its_records(board, records):
    assert rebuilt(board, check_board(board).rows, records) == ([], [])


def test_what_the_records_do_not_say_is_refused(edited, board, records):
    rows = edited({"objective_end": "0.1", "seconds_mean": "9", "device": "cuda"}).rows
    faults, warnings = rebuilt(board, rows, records)
    assert "board.csv:2: dlg (B=2): objective_end is '0.1', of the records '0.5'" in only(faults)
    assert "device is 'cuda', of the records 'cpu'" in only(warnings)


def test_rows_that_only_one_side_has(board, records, make_record):
    rows = check_board(board).rows
    faults, _ = rebuilt(board, rows, [record for record in records if record.cell.attack != "mean_image"])
    assert any("mean_image (B=2): the records hold no trial of it" in fault for fault in faults)
    _, warnings = rebuilt(board, rows, [*records, make_record("idlg", 0, (9.0, 9.0), budget="100")])
    assert "the records hold idlg (B=2) too, no row has it" in only(warnings)


def test_a_defense_with_a_known_answer_needs_the_row_of_who_gives_it(tmp_path, records):
    def told(defense, adaptive):
        changes = {"defense": defense, "adaptive": adaptive}
        return [record.model_copy(update={"cell": record.cell.model_copy(update=changes)}) for record in records]

    def answer(defense):
        return "masked" if defense == "pruning" else ""

    alone = published(told("pruning", False), tmp_path / "alone.csv")
    assert "knows the defense and applies masked" in only(check_board(alone, answer=answer).faults)
    assert check_board(alone).faults == []
    both = published(told("pruning", False) + told("pruning", True), tmp_path / "both.csv")
    assert check_board(both, answer=answer).faults == []
    noise = published(told("gaussian_noise", False), tmp_path / "noise.csv")
    assert check_board(noise, answer=answer).faults == []


@pytest.mark.parametrize(
    ("leaks", "gradient", "statistics", "stands"),
    [
        ("identity", "none", "none", True),  # from one of the two, and not shown which
        ("pixels+identity", "pixels", "identity", True),
        ("identity", "none", "", False),  # without statistics there is one source
        ("none", "none", "identity", False),
        ("none", "none", "none", True),
    ],
)
def test_what_leaks_has_a_source_or_two_to_choose_from(leaks, gradient, statistics, stands):
    words = {"works": "false" if gradient == "none" else "true", "leaks": leaks, "psnr_gain_low": "1.0"}
    faults = list(_verdict_on_respects(words | {"from_gradient": gradient, "from_statistics": statistics}))
    assert (faults == []) == stands


@pytest.mark.parametrize(
    ("gain", "share", "stands"),
    [("0.1", "0.0", True), ("-0.1", "0.2", True), ("-0.1", "0.0", False), ("", "", False), ("-0.1", None, True)],
)
def test_identity_leaks_by_its_ranks_or_by_the_images_identified(gain, share, stands):
    words = {"works": "true", "leaks": "identity", "from_gradient": "identity", "from_statistics": ""}
    words |= {"identity_gain_low": gain} | ({} if share is None else {"identified_low": share})
    assert (list(_verdict_on_respects(words)) == []) == stands


@pytest.mark.parametrize(("measured", "respect", "stands"), [
    ("0.1", "identity", True), ("", "identity", False), ("0.1", "structure", False),
])  # fmt: skip
def test_where_the_original_was_looked_for_elsewhere_identity_may_leak_by_that(measured, respect, stands):
    words = {
        "works": "true",
        "leaks": respect,
        "from_gradient": respect,
        "from_statistics": "",
        "identified_low": "0.0",
    }
    words |= {"identity_gain_low": "-0.1", "structure_gain_low": "-0.1", "rank_anywhere_mean": measured}
    assert (list(_verdict_on_respects(words)) == []) == stands
