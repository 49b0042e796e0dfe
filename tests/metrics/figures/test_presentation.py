"""Figures as a paper wants them: which attacks in which order, one look each, names, width, words, style, sweeps."""

from itertools import pairwise

import pytest
from matplotlib.image import imread

from gradinv.metrics.figures import Material, Presentation, draw_all, figures_of
from gradinv.metrics.figures.presentation import canvas, head, look_of, name_of, panels_in_a_row, styled
from gradinv.metrics.records import selected
from gradinv.metrics.registry import RequestError

WORDS = (
    "test_resnet[epochs=20,round=20] (trained) · cifar10_jpeg 32 px · no defense · batch size 1 · victim_seed 0 · "
    "bn_statistics running"
)


def test_an_attack_has_one_look_in_all_figures_that_are_drawn_together():
    with styled(Presentation(names={"idlg": "iDLG"})):
        first = {key: look_of(key) for key in ("dlg", "idlg", "mine")}
        again = {key: look_of(key) for key in ("mine", "idlg", "dlg")}
        assert first == again
        assert len(set(first.values())) == 3
    with styled(Presentation(names={"idlg": "iDLG", "dlg": "DLG"})):
        # In the order of the names, whichever is drawn first: so the figures of a project agree.
        assert look_of("dlg") == first["dlg"]
        assert look_of("idlg") == first["idlg"]


def test_long_names_for_display_are_broken_where_a_key_would_be_and_formulas_are_not():
    with styled(Presentation(names={"idlg": "iDLG with a long tail", "dlg": r"DLG at $\alpha = 1$"})):
        assert name_of("idlg", 12) == "iDLG with a\nlong tail"
        assert name_of("dlg", 8) == r"DLG at $\alpha = 1$"


def test_names_for_display_are_those_of_controls_too():
    with styled(Presentation(names={"idlg": "iDLG"})):
        assert [name_of(key) for key in ("idlg", "dlg", "other_gradient of idlg")] == [
            "iDLG", "dlg", "other_gradient of iDLG",
        ]  # fmt: skip


def test_a_narrow_figure_has_its_width_and_fewer_panels_beside_each_other():
    with styled(Presentation(width=3.35)):
        assert canvas(14, 4).get_size_inches().tolist() == [3.35, 3.0]
        assert panels_in_a_row(3, 4.75) == 1
    with styled(Presentation(width=6.9)):
        assert panels_in_a_row(3, 4.75) == 2
    with styled(Presentation()):
        assert (panels_in_a_row(3, 4.75), canvas(14, 4).get_size_inches().tolist()) == (3, [14, 4])


def test_the_key_of_a_narrow_figure_lies_within_it(make_record):
    keys = [f"[alpha_consistency=0.0001,alpha_total_variation=0.000{n},restarts=4]" for n in range(1, 4)]
    records = [
        make_record("gradinversion", r, (9.0,), parameters=key, order=n, batch_size=size)
        for n, key in enumerate(keys)
        for r in range(2)
        for size in (1, 2)
    ]
    for kind in ("quality", "recovery"):
        for figure in figures_of(Material(records, (), ()), kind, Presentation(width=3.35)).values():
            figure.draw_without_rendering()
            (legend,) = figure.legends
            box = legend.get_window_extent()
            assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert 0 <= box.y0 < min(axis.get_tightbbox().y0 for axis in figure.axes) + 1


@pytest.mark.parametrize("width", [3.35, 6.9])
@pytest.mark.parametrize("kind", ["quality", "recovery", "objective", "terms"])
def test_words_beside_and_below_panels_stay_on_the_page_and_off_each_other(make_record, kind, width):
    records = [
        make_record(
            "gradinversion", r, (9.0,), parameters=f"[alpha_group=0.000{n},restarts=4]", order=n, batch_size=size,
            curve=[(0, 0.9), (10, 0.002)], terms={"gradient": [0.9, 0.002]},
        )
        for n in range(1, 4)
        for r in range(2)
        for size in (1, 2, 4, 8)
    ]  # fmt: skip
    for figure in figures_of(Material(records, (), ()), kind, Presentation(width=width)).values():
        figure.draw_without_rendering()
        for axis in figure.axes:
            inside = axis.get_tightbbox()
            assert inside.x0 > -2
            assert inside.x1 < figure.bbox.x1 + 2
            for ticks in (axis.get_yticklabels(), axis.get_yticklabels(minor=True)):
                boxes = sorted((t.get_window_extent() for t in ticks if t.get_text()), key=lambda box: box.y0)
                assert all(low.y1 <= high.y0 + 1 for low, high in pairwise(boxes))


def test_panels_for_many_batch_sizes_take_rows_and_pages_of_their_own(make_record):
    records = [
        make_record("dlg", 0, (9.0,), parameters=f"[lr=0.{n}]", order=n, batch_size=size, curve=[(0, 2.0), (9, 1.0)])
        for n in range(1, 5)
        for size in (1, 2, 4, 8)
    ]
    material = Material(records, (), ())
    (figure,) = figures_of(material, "objective").values()
    assert len(figure.axes) == 16
    pages = figures_of(material, "objective", Presentation(width=3.35))
    assert [name.rpartition("px")[2] for name in pages] == ["", "-2"]
    assert [len(page.axes) for page in pages.values()] == [8, 8]
    assert max(page.get_figheight() for page in pages.values()) < 9.5


@pytest.mark.parametrize("width", [3.0, 5.0, 7.5, 11.0])
def test_the_words_above_a_figure_are_on_it_and_its_panels_keep_their_height(width):
    heights = []
    for words in (WORDS.partition(" ·")[0], WORDS):
        with styled(Presentation()):
            figure = canvas(width, 4.0)
            axis = figure.subplots()
            head(figure, f"Does the picture name its original?\n{words}")
            figure.draw_without_rendering()
        box = figure._suptitle.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert axis.get_tightbbox().y1 <= box.y0 <= box.y1 <= figure.bbox.y1
        heights.append(axis.get_window_extent().height)
    assert heights[1] >= 0.95 * heights[0]


def test_a_figure_for_a_paper_has_the_dots_of_print(tmp_path, records):
    draw_all(Material(records, (), ()), tmp_path, Presentation(width=3.35, titles=False), ["quality"])
    (path,) = tmp_path.glob("quality-*.png")
    assert imread(path).shape[1] == 3.35 * 300


def test_a_style_goes_over_the_shipped_one_and_a_broken_one_is_a_line(tmp_path):
    style = tmp_path / "mine.mplstyle"
    style.write_text("axes.prop_cycle: cycler('color', ['123456'])\n", encoding="utf-8")
    with styled(Presentation(style=style)):
        assert look_of("dlg").color.strip("#") == "123456"
    with pytest.raises(RequestError, match="cannot be read"):
        Presentation(style=tmp_path / "nothing.mplstyle")
    style.write_text("font.size: large and red\n", encoding="utf-8")
    with pytest.raises(RequestError, match="no matplotlib style"):
        Presentation(style=style)


def test_without_titles_the_words_stand_beside_the_figure_and_name_what_is_left_out(tmp_path, records):
    paths = draw_all(Material(records, (), ()), tmp_path, Presentation(titles=False), ["quality"])
    (words,) = [path.read_text() for path in paths if path.suffix == ".txt"]
    assert words.startswith("How well do the attacks reconstruct?")
    assert "Not shown: idlg.bn (skipped: idlg.bn needs batch-norm statistics, none are granted)." in words
    (figure,) = figures_of(Material(records, (), ()), "quality", Presentation(titles=False)).values()
    assert figure.get_suptitle() == ""
    (figure,) = figures_of(Material(records, (), ()), "quality").values()
    assert "Not shown: idlg.bn (skipped" in figure.get_suptitle()


def test_the_attacks_that_are_asked_for_stand_in_that_order(records):
    chosen = selected(records, ["idlg", "dlg"])
    keys = list(dict.fromkeys(record.cell.key for record in sorted(chosen, key=lambda record: record.order)))
    assert [key for key in keys if key in ("dlg", "idlg")] == ["idlg", "dlg"]
    assert sorted(keys) == ["dlg", "idlg", "mean_image", "other_gradient of dlg"]
    assert {record.cell.key for record in selected(records, ["idlg*"])} == {"idlg", "idlg.bn", "mean_image"}
    with pytest.raises(RequestError, match="did you mean idlg"):
        selected(records, ["idgl"])


def sweep(make_record, values):
    """Trials of an attack at these values of a number, and of its control."""
    numbered = [(index, value, repetition) for index, value in enumerate(values) for repetition in range(3)]
    return [
        make_record("tv", repetition, (10.0 + index + repetition,), parameters=f"[alpha={value}]", order=index)
        for index, value, repetition in numbered
    ]


def test_a_number_that_spans_decades_has_a_logarithmic_axis(make_record):
    (figure,) = figures_of(Material(sweep(make_record, [0.01, 0.1, 1.0]), (), ()), "sweep").values()
    assert figure.axes[0].get_xscale() == "log"
    (line, *_) = figure.axes[0].containers
    assert line[0].get_xdata().tolist() == [0.01, 0.1, 1.0]
    assert line[0].get_ydata().tolist() == [11.0, 12.0, 13.0]
    (figure,) = figures_of(Material(sweep(make_record, [1.0, 2.0, 3.0]), (), ()), "sweep").values()
    assert figure.axes[0].get_xscale() == "linear"


def test_the_bound_on_equal_labels_goes_along_with_their_number(make_record):
    """Batches of distinct labels, which have another bound, are the first point of the sweep."""
    numbers = {1: 1, 2: 4, 3: 4}
    records = [
        make_record("idlg", r, (15.0 - equal + r, 15.0), equal_labels=equal, max_equal_labels=most, order=equal)
        for equal, most in numbers.items()
        for r in range(3)
    ]
    ((name, figure),) = figures_of(Material(records, (), ()), "sweep").items()
    assert name.startswith("sweep-equal_labels-")
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "2", "3"]


def test_budgets_are_swept_but_for_a_presets_own(make_record):
    budgets = ("300", "1200", "4800", "paper")
    records = [
        make_record("idlg", r, (10.0 + order + r, 10.0 + order), budget=budget, order=order)
        for order, budget in enumerate(budgets)
        for r in range(3)
    ]
    (figure,) = figures_of(Material(records, (), ()), "sweep").values()
    assert figure.axes[0].get_xscale() == "log"
    assert list(figure.axes[0].containers[0].lines[0].get_xdata()) == [300, 1200, 4800]


def test_structure_has_a_panel_where_it_was_measured(make_record):
    records = []
    for record in sweep(make_record, [0.01, 0.1, 1.0]):
        images = [image.model_copy(update={"metrics": {**image.metrics, "structure": 0.25}}) for image in record.images]
        records.append(record.model_copy(update={"images": images}))
    (figure,) = figures_of(Material(records, (), ()), "sweep").values()
    _, structure = figure.axes
    assert structure.get_ylabel().startswith("structure")
    assert set(structure.containers[0].lines[0].get_ydata()) == {0.25}


def test_two_values_are_no_sweep(make_record):
    with pytest.raises(RequestError, match="no figure of kind sweep in these records: it needs three values"):
        figures_of(Material(sweep(make_record, [0.01, 0.1]), (), ()), "sweep")


def test_the_number_of_a_victim_is_swept_with_a_line_for_each_seed_and_a_panel_for_each_judge(make_record):
    stage = "net[epochs=20,round={}]"
    records = [
        make_record(
            attack,
            repetition,
            (psnr - index - seed,),
            victim=stage.format(at),
            victim_seed=seed,
            is_control=attack == "mean_image",
            judges={"identity_lowpass": "none"},
            order=seed,
        )
        for attack, psnr in (("dlg", 20.0), ("mean_image", 12.0))
        for index, at in enumerate((0, 5, 20))
        for seed in range(2)
        for repetition in range(2)
    ]
    for record in records:
        at = float(record.cell.victim.partition("round=")[2][:-1])
        record.images[0].metrics["identity_lowpass"] = 0.5 if record.cell.is_control else at / 100
    ((name, figure),) = figures_of(Material(records, (), ()), "sweep").items()
    assert name == "sweep-victim-net-epochs=20-round-net-untrained-photos-16px-B2"
    assert "round of net[epochs=20]" in figure.get_suptitle()
    quality, rank = figure.axes
    assert [line.get_label() for line in quality.containers] == ["dlg, seed 0", "dlg, seed 1"]
    assert [line[0].get_ydata().tolist() for line in quality.containers] == [[20.0, 19.0, 18.0], [19.0, 18.0, 17.0]]
    assert rank.containers[0][0].get_ydata().tolist() == [0.0, 0.05, 0.2]
    dashed = [line.get_ydata().tolist() for line in rank.lines if line.get_linestyle() == "--"]
    assert dashed[0] == [0.5, 0.5, 0.5]


def test_a_field_that_is_a_number_is_swept_and_so_is_the_number_of_an_update(make_record):
    records = [
        make_record("dlg", repetition, (20.0 + index,), observations=count)
        for index, count in enumerate((1, 2, 4))
        for repetition in range(2)
    ]
    ((name, figure),) = figures_of(Material(records, (), ()), "sweep").items()
    assert name.startswith("sweep-observations-")
    assert figure.axes[0].containers[0][0].get_xdata().tolist() == [1, 2, 4]
    records = [
        make_record("dlg", repetition, (20.0 - index,), update=f"weight_update[epochs={epochs},lr=0.001]")
        for index, epochs in enumerate((1, 4, 16))
        for repetition in range(2)
    ]
    ((name, figure),) = figures_of(Material(records, (), ()), "sweep").items()
    assert name.startswith("sweep-update-weight_update-lr=0.001-epochs-")
    assert "client sends: weight_update in eval mode" in figure.get_suptitle()


def test_the_number_of_a_defense_is_swept_over_its_settings(make_record):
    records = [
        make_record("dlg", repetition, (20.0 - index,), defense=f"gaussian_noise[sigma={sigma}]", order=index)
        for index, sigma in enumerate([0.001, 0.01, 0.1])
        for repetition in range(2)
    ]
    ((name, figure),) = figures_of(Material(records, (), ()), "sweep").items()
    assert name.startswith("sweep-defense-gaussian_noise-sigma")
    assert figure.axes[0].containers[0][0].get_ydata().tolist() == [20.0, 19.0, 18.0]
    assert "no defense" not in figure.get_suptitle()
