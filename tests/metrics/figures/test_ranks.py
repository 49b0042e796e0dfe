"""Ranks of the originals, image by image, under each judge."""

from itertools import pairwise

from gradinv.metrics.figures.presentation import Presentation
from gradinv.metrics.figures.ranks import rank_drawings
from gradinv.metrics.figures.skeleton import drawn


def ranked(record, *ranks):
    """The record with these normalised ranks of its images among 101."""
    images = [
        image.model_copy(
            update={"metrics": {**image.metrics, "identity_lowpass": rank}, "details": {"identity_pool": 101.0}}
        )
        for image, rank in zip(record.images, ranks, strict=True)
    ]
    return record.model_copy(update={"images": images, "judges": {"identity_lowpass": "no weights"}})


def test_each_image_has_its_rank_beside_chance(make_record):
    records = [ranked(make_record("dlg", r, (20.0, 24.0)), 0.0, 0.1) for r in range(2)]
    records += [ranked(make_record("mean_image", 0, (12.0, 12.0), is_control=True, order=9), 0.5, 0.5)]
    (drawing,) = rank_drawings(records)
    assert drawing.table.groupby("key")["rank"].apply(list).to_dict() == {
        "dlg": [1.0, 11.0, 1.0, 11.0],
        "mean_image": [51.0, 51.0],
    }
    (panel,) = drawn(drawing, Presentation()).axes
    assert panel.get_title() == "lowpass"
    assert [label.get_text() for label in panel.get_yticklabels()] == ["dlg", "mean_image"]
    chance = panel.lines[-1].get_xdata()
    assert list(chance) == [51.0, 51.0]


def test_in_a_column_controls_stand_under_their_attack_and_names_off_each_other(make_record):
    keys = [f"[alpha_consistency=0.0001,alpha_total_variation=0.000{n},restarts=4]" for n in range(1, 4)]
    records = [
        ranked(make_record("tv", 0, (20.0, 24.0), parameters=key, order=n), 0.0, 0.1) for n, key in enumerate(keys)
    ]
    records += [
        ranked(make_record("other_gradient", 0, (9.0, 9.0), preset=f"tv{key}", is_control=True, order=9 - n), 0.5, 0.4)
        for n, key in enumerate(keys)
    ]
    (drawing,) = rank_drawings(records)
    figure = drawn(drawing, Presentation(width=3.35))
    figure.draw_without_rendering()
    names = figure.axes[0].get_yticklabels()
    assert [name.get_text().replace("\n", "") for name in names] == [
        text for key in keys for text in (f"tv{key}", "its other_gradient")
    ]
    boxes = sorted((name.get_window_extent() for name in names), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 for below, above in pairwise(boxes))


def test_judges_that_have_no_room_beside_each_other_stand_below(make_record):
    judges = {f"identity_{name}": "weights" for name in ("lowpass", "a", "b")}
    (record,) = [ranked(make_record("dlg", 0, (20.0, 24.0)), 0.0, 0.1)]
    images = [
        image.model_copy(update={"metrics": {**image.metrics, "identity_a": 0.1, "identity_b": 0.2}})
        for image in record.images
    ]
    (drawing,) = rank_drawings([record.model_copy(update={"images": images, "judges": judges})])
    rows = {
        width: {axis.get_subplotspec().rowspan.start for axis in drawn(drawing, Presentation(width=width)).axes}
        for width in (None, 3.35)
    }
    assert rows == {None: {0}, 3.35: {0, 1}}


def test_nothing_ranked_draws_nothing(make_record):
    assert list(rank_drawings([make_record("dlg", 0, (20.0, 24.0))])) == []


def test_controls_of_an_attack_that_never_came_to_an_end_are_drawn(make_record):
    """Where memory ends at the gradient, or the attack fails on it, `prior_only` may go through."""
    records = [
        ranked(make_record("prior_only", 0, (9.0, 9.0), preset="tv", is_control=True), 0.5, 0.4),
        ranked(make_record("mean_image", 0, (12.0, 12.0), is_control=True, order=9), 0.5, 0.5),
    ]
    (drawing,) = rank_drawings(records)
    names = drawn(drawing, Presentation()).axes[0].get_yticklabels()
    assert [name.get_text() for name in names] == ["prior_only of tv", "mean_image"]
