"""Ranks of the originals, image by image, under each judge."""

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


def test_nothing_ranked_draws_nothing(make_record):
    assert list(rank_drawings([make_record("dlg", 0, (20.0, 24.0))])) == []
