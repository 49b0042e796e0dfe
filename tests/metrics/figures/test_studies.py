"""Quality over evaluations, and leakage beside utility: the numbers that the figures show, and when there are none."""

import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy import stats

from gradinv.metrics.figures.defenses import defense_drawings
from gradinv.metrics.figures.presentation import Presentation
from gradinv.metrics.figures.progress import progress, progress_drawings
from gradinv.metrics.figures.rows import grant_drawings, victim_drawings
from gradinv.metrics.figures.skeleton import drawn, save_all
from gradinv.metrics.records.record import Record


@pytest.fixture
def on_the_way(make_record: Callable[..., Record]) -> list[Record]:
    """Three batches of an attack and of a control, with the PSNR of their snapshots; one trial stopped early."""
    kept = {"snapshots": [1, 10, 100], "snapshot_psnr": [5.0, 8.0, 12.0]}
    records = [make_record("dlg", r, (12.0, 12.0), **kept) for r in range(2)]
    records.append(make_record("dlg", 2, (9.0, 9.0), snapshots=[1, 10], snapshot_psnr=[6.0, 9.5]))
    control = {"preset": "dlg", "is_control": True, **kept}
    return records + [make_record("other_gradient", r, (7.0, 7.0), **control) for r in range(3)]


def test_progress_is_the_mean_over_the_batches_that_all_have_a_snapshot(on_the_way: list[Record]) -> None:
    points = progress(on_the_way[:3])
    assert [evaluations for evaluations, _ in points] == [1, 10]
    low, high = stats.t.interval(0.95, 2, np.mean([8.0, 8.0, 9.5]), stats.sem([8.0, 8.0, 9.5]))
    assert (points[1][1].mean, points[1][1].low, points[1][1].high) == pytest.approx((8.5, low, high))


def test_the_progress_figure_comes_with_its_table(on_the_way: list[Record], tmp_path) -> None:
    names = sorted(path.name for path in save_all(progress_drawings(on_the_way), tmp_path))
    assert names == [f"progress-lenet_dlg-untrained-photos-16px-B2.{kind}" for kind in ("csv", "pdf", "png")]
    table = pd.read_csv(tmp_path / names[0])
    assert table["key"].tolist() == ["dlg"] * 2 + ["other_gradient of dlg"] * 3
    assert table["psnr_mean"].tolist() == pytest.approx([16 / 3, 8.5, 5, 8, 12])


def test_without_snapshots_no_progress_is_drawn(records: list[Record], tmp_path) -> None:
    assert save_all(progress_drawings(records), tmp_path) == []


@pytest.fixture
def defended(make_record: Callable[..., Record]) -> list[Record]:
    """An attack without a defense and under noise, each with a control; the noise leaves half of the direction."""
    records = []
    for order, defense, cosine, psnr in ((0, "none", 1.0, 25.0), (1, "gaussian_noise[sigma=0.1]", 0.5, 11.0)):
        changes = {"defense": defense, "order": order}
        records += [make_record("dlg", r, (psnr + r, psnr), update_cosine=cosine, **changes) for r in range(3)]
        records += [make_record("mean_image", r, (10.0, 10.0), is_control=True, **changes) for r in range(3)]
    return records


def test_leakage_stands_beside_what_is_left_of_the_update(defended: list[Record], tmp_path) -> None:
    paths = save_all(defense_drawings(defended), tmp_path)
    assert {path.suffix for path in paths} == {".png", ".pdf", ".csv"}
    table = pd.read_csv(next(path for path in paths if path.suffix == ".csv"))
    assert table["measure"].tolist() == ["psnr", "psnr"]
    assert table["update_cosine"].tolist() == [1.0, 0.5]
    assert table["mean"].tolist() == [25.5, 11.5]
    assert table["best_control"].tolist() == [10.0, 10.0]


def test_a_lower_rank_leaks_more(defended: list[Record], tmp_path) -> None:
    """Of two attackers, and for the front, in identity as in pixels; its axis points the other way."""

    def ranked(record: Record, rank: float) -> Record:
        images = [
            image.model_copy(update={"metrics": {**image.metrics, "identity_lowpass": rank}}) for image in record.images
        ]
        return record.model_copy(update={"images": images})

    ranks = {("none", False): 0.0, ("gaussian_noise[sigma=0.1]", False): 0.4}
    records = [
        ranked(record, 0.5 if record.cell.is_control else ranks[record.cell.defense, record.cell.adaptive])
        for record in defended
    ]
    told = [
        ranked(record.model_copy(update={"cell": record.cell.model_copy(update={"adaptive": True})}), 0.1)
        for record in records
        if record.cell.defense != "none" and not record.cell.is_control
    ]
    (drawing,) = defense_drawings([*records, *told])
    table = drawing.table.set_index(["measure", "defense", "adaptive"]).loc["identity_lowpass"]
    assert table["worse_of_two"].to_dict() == {
        ("none", False): True, ("gaussian_noise[sigma=0.1]", False): False, ("gaussian_noise[sigma=0.1]", True): True
    }  # fmt: skip
    assert table["best_control"].iloc[0] == 0.5
    _, pixels, ranks_of_originals = drawn(drawing, Presentation()).axes
    assert not pixels.xaxis_inverted()
    assert ranks_of_originals.xaxis_inverted()


def test_of_two_attackers_the_worse_counts_and_the_front_is_marked(
    defended: list[Record], make_record: Callable[..., Record], tmp_path
) -> None:
    changes = {"defense": "pruning[ratio=0.9]", "order": 2}
    told = {**changes, "adaptive": True}
    records = [*defended]
    records += [make_record("dlg", r, (10.0 + r, 10.0), update_cosine=0.4, **changes) for r in range(3)]
    records += [make_record("dlg", r, (20.0 + r, 20.0), update_cosine=0.4, **told) for r in range(3)]
    (tmp_path / "run").mkdir()
    accuracy = {"none": 0.8, "gaussian_noise[sigma=0.1]": 0.6, "pruning[ratio=0.9]": 0.5}
    cell = records[0].cell
    pd.DataFrame([
        {"dataset": cell.dataset, "image_size": cell.image_size, "victim": cell.victim, "victim_seed": cell.victim_seed,
         "defense": name, "accuracy_mean": value, "accuracy_low": value - 0.1, "accuracy_high": value + 0.1}
        for name, value in accuracy.items()
    ]).to_csv(tmp_path / "run" / "utility.csv")  # fmt: skip
    paths = save_all(defense_drawings(records, [tmp_path / "run"]), tmp_path)
    table = pd.read_csv(next(path for path in paths if path.suffix == ".csv"))
    pruned = table[table["defense"] == "pruning[ratio=0.9]"].set_index("adaptive")
    assert pruned["worse_of_two"].to_dict() == {False: False, True: True}
    assert pruned.loc[True, "accuracy_mean"] == 0.5
    # Pruning leaks 20.5 dB to who knows it and costs more than noise, which leaks 11.5: it is not on the front.
    front = table.drop_duplicates("defense").set_index("defense")["on_front"].to_dict()
    assert front == {"none": True, "gaussian_noise[sigma=0.1]": True, "pruning[ratio=0.9]": False}


def test_what_is_uploaded_has_a_panel_where_it_differs(defended: list[Record]) -> None:
    """On an axis of magnitudes, a mark a defense; where all upload alike, or one is not known, there is none."""
    sent = {"none": 38_720.0, "gaussian_noise[sigma=0.1]": 80.0}
    records = [record.model_copy(update={"upload_bytes": sent[record.cell.defense]}) for record in defended]
    (drawing,) = defense_drawings(records)
    assert drawing.table.set_index("defense")["upload_bytes"].to_dict() == sent
    axis = drawn(drawing, Presentation()).axes[1]
    assert axis.get_xscale() == "log"
    assert axis.get_xlabel() == "upload a round\n(kB)"
    assert list(axis.lines[0].get_xdata()) == [38.72, 0.08]
    for others in ({}, {"upload_bytes": 80.0}):
        alike = [record.model_copy(update=others) if others else record for record in defended]
        (drawing,) = defense_drawings(alike)
        assert all(axis.get_xscale() == "linear" for axis in drawn(drawing, Presentation()).axes)


def test_defenses_that_leak_alike_have_rows_of_their_own(make_record: Callable[..., Record]) -> None:
    """Thirty defenses with the same leakage: no two names lie over each other, and the cheapest stands on top."""
    cosines = {f"dp_sgd[max_norm=1.0,sigma={index}]": 1 - index / 100 for index in range(30)}
    records = [
        make_record("dlg", r, (20.0, 20.0 + r), defense=defense, order=order, update_cosine=cosine)
        for order, (defense, cosine) in enumerate(reversed(cosines.items()))
        for r in range(2)
    ]
    (drawing,) = defense_drawings(records)
    for width in (None, 3.35):
        figure = drawn(drawing, Presentation(width=width))
        FigureCanvasAgg(figure).draw()
        names = [label for label in figure.axes[0].get_yticklabels() if label.get_text()]
        assert [label.get_text().replace("\n", "") for label in names] == list(cosines)
        boxes = sorted((label.get_window_extent() for label in names), key=lambda box: box.y0)
        assert all(below.y1 <= above.y0 for below, above in itertools.pairwise(boxes))


def test_one_defense_is_no_figure(defended: list[Record], records: list[Record], tmp_path) -> None:
    assert save_all(defense_drawings([record for record in defended if record.cell.defense == "none"]), tmp_path) == []
    assert save_all(defense_drawings(records), tmp_path) == []


@pytest.fixture
def knowing_more(make_record: Callable[..., Record]) -> list[Record]:
    """An attack without statistics and with exact ones, each with a control, on two victim seeds."""
    records = []
    for order, (statistics, seed) in enumerate(itertools.product(("none", "exact"), (0, 1))):
        changes = {"bn_statistics": statistics, "victim_seed": seed, "order": order}
        gain = {"none": 0.0, "exact": 4.0}[statistics] + seed
        records += [make_record("dlg", r, (12.0 + gain + r, 12.0 + gain), **changes) for r in range(3)]
        control = {"preset": "dlg", "is_control": True, **changes}
        records += [make_record("prior_only", r, (7.0 + gain, 7.0 + gain), **control) for r in range(3)]
    return records


def test_what_is_granted_has_a_row_and_each_seed_a_mark(knowing_more: list[Record], tmp_path) -> None:
    paths = save_all(grant_drawings(knowing_more), tmp_path)
    assert {path.suffix for path in paths} == {".png", ".pdf", ".csv"}
    table = pd.read_csv(next(path for path in paths if path.suffix == ".csv"), keep_default_na=False)
    means = table.set_index(["row", "victim_seed", "control"])["mean"].to_dict()
    assert means == pytest.approx({
        ("statistics none", 0, ""): 12.5, ("statistics none", 0, "prior_only"): 7.0,
        ("statistics none", 1, ""): 13.5, ("statistics none", 1, "prior_only"): 8.0,
        ("statistics exact", 0, ""): 16.5, ("statistics exact", 0, "prior_only"): 11.0,
        ("statistics exact", 1, ""): 17.5, ("statistics exact", 1, "prior_only"): 12.0,
    })  # fmt: skip
    (axis,) = drawn(next(iter(grant_drawings(knowing_more))), Presentation()).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["statistics none", "statistics exact"]
    # A line an attack or control: seeds lie above each other within their row, and rows apart.
    heights = {float(line.get_ydata()[0]) for line in axis.get_lines() if len(line.get_xdata()) == 1}
    assert sorted(heights) == pytest.approx([-0.175, 0.175, 0.825, 1.175])


def test_several_attacks_of_one_grant_have_a_row_each(make_record: Callable[..., Record]) -> None:
    records = [
        make_record(key, r, (12.0 + r, 12.0), labels=labels, order=order)
        for order, (labels, key) in enumerate(itertools.product(("known", "none"), ("dlg", "idlg")))
        for r in range(3)
    ]
    (drawing,) = grant_drawings(records)
    rows = ["labels known\ndlg", "labels known\nidlg", "labels none\ndlg", "labels none\nidlg"]
    assert drawing.table["row"].tolist() == rows


def test_where_everyone_knows_the_same_no_grants_are_drawn(knowing_more: list[Record]) -> None:
    assert list(grant_drawings([record for record in knowing_more if record.cell.bn_statistics == "none"])) == []


def test_networks_stand_by_the_structure_that_they_leak(make_record: Callable[..., Record], tmp_path) -> None:
    """And not by their PSNR, though it goes the other way here; two networks are no figure."""

    def leaking(victim: str, order: int, psnr: float, structure: float) -> list[Record]:
        records = [make_record("dlg", r, (psnr + r, psnr), victim=victim, order=order) for r in range(3)]
        leaks = {"structure": structure}
        images = [[it.model_copy(update={"metrics": it.metrics | leaks}) for it in record.images] for record in records]
        return [record.model_copy(update={"images": it}) for record, it in zip(records, images, strict=True)]

    records = [*leaking("a", 0, 20.0, 0.1), *leaking("b", 1, 15.0, 0.2), *leaking("c", 2, 10.0, 0.3)]
    (drawing,) = victim_drawings(records)
    assert drawing.name == "victims-networks-in_rows-photos-16px-B2"
    assert list(dict.fromkeys(drawing.table["row"])) == ["c (untrained)", "b (untrained)", "a (untrained)"]
    assert list(drawing.table[drawing.table["metric"] == "psnr"]["mean"]) == [10.5, 15.5, 20.5]
    axis, _ = drawn(drawing, Presentation()).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["c (untrained)", "b (untrained)", "a (untrained)"]
    assert list(victim_drawings(records[:6])) == []


def test_a_control_of_a_plug_in_has_a_mark_and_what_no_panel_shows_has_no_figure(
    make_record: Callable[..., Record],
) -> None:
    records = []
    for order, statistics in enumerate(("none", "exact")):
        changes = {"bn_statistics": statistics, "order": order}
        records += [make_record("dlg", r, (12.0 + r, 12.0), **changes) for r in range(3)]
        records += [make_record("blurred", r, (9.0, 9.0), preset="dlg", is_control=True, **changes) for r in range(3)]
    (drawing,) = grant_drawings(records)
    (axis,) = drawn(drawing, Presentation()).axes
    assert {"blurred", "dlg"} <= set(axis.get_legend_handles_labels()[1])
    images = [[it.model_copy(update={"metrics": {"gmsd": 0.1}}) for it in record.images] for record in records]
    bare = [record.model_copy(update={"images": it}) for record, it in zip(records, images, strict=True)]
    assert list(grant_drawings(bare)) == []
