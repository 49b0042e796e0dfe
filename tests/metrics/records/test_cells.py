"""Who controls whom, in which order rows stand, and what tells them apart."""

import pytest

from gradinv.metrics.records.cells import address_of, attacks_of, cell_of_key, controls_of, ordered
from gradinv.metrics.records.reading import trials_by_cell
from gradinv.metrics.records.settings import setting_of


@pytest.fixture
def cells(records, make_record):
    """The cells of `records`, a shared control in another setting, and one of an attack that was not run."""
    elsewhere = make_record("mean_image", 0, (1.0,), is_control=True, batch_size=4, order=90)
    orphan = make_record("prior_only", 0, (1.0,), preset="gone", is_control=True, order=91)
    return list(trials_by_cell([*records, elsewhere, orphan]))


def test_controls_are_those_of_the_attack_and_of_every_attack_in_its_setting(cells):
    controls = {cell.key: [control.key for control in controls_of(cell, cells)] for cell in cells}
    assert controls["dlg"] == ["other_gradient of dlg", "mean_image"]
    assert controls["idlg"] == ["mean_image"]
    assert controls["other_gradient of dlg"] == []


def test_attacks_of_a_control_are_the_other_way_round(cells):
    for control in cells:
        attacks = attacks_of(control, cells)
        assert attacks == [cell for cell in cells if control in controls_of(cell, cells)]
    (grey,) = [cell for cell in cells if cell.key == "mean_image" and cell.batch_size == 2]
    assert [attack.key for attack in attacks_of(grey, cells)] == ["dlg", "idlg", "idlg.bn"]


def test_own_controls_stand_beneath_their_attack_and_all_others_last(cells):
    setting = [cell for cell in cells if cell.batch_size == 2]
    expected = ["dlg", "other_gradient of dlg", "idlg", "idlg.bn", "mean_image", "prior_only of gone"]
    assert [cell.key for cell in ordered(setting)] == expected
    assert set(ordered(setting[::-1])) == set(setting)


def test_attacks_that_differ_in_tuning_share_their_controls(make_record):
    changes = [{"tuning": "paper"}, {"tuning": "suite"}, {"preset": "dlg", "attack": "prior_only", "is_control": True}]
    cells = [make_record(**({"attack": "dlg", "repetition": 0} | change)).cell for change in changes]
    assert [(cell.key, cell.tuning) for cell in ordered(cells)] == [
        ("dlg", "paper"),
        ("prior_only of dlg", "suite"),
        ("dlg", "suite"),
    ]


@pytest.mark.parametrize(
    ("key", "is_control"),
    [
        ("dlg", False),
        ("gradinversion.no_bn[alpha_tv=0.0001,lr=0.1]", False),
        ("gradinversion[name=a.b]", False),
        ("mean_image", True),
        ("prior_only of gradinversion.no_bn[lr=0.1]", True),
    ],
)
def test_a_cell_comes_back_from_its_key(make_record, key, is_control):
    cell = cell_of_key(key, setting_of(make_record("dlg", 0).cell), is_control=is_control)
    assert (cell.key, cell.is_control) == (key, is_control)
    assert setting_of(cell) == setting_of(make_record("dlg", 0).cell)


@pytest.mark.parametrize(("key", "is_control"), [("dlg.", False), ("mean_image of ", True)])
def test_what_is_no_key_has_no_cell(make_record, key, is_control):
    with pytest.raises(ValueError, match=r"not one of gradinv"):
        cell_of_key(key, setting_of(make_record("dlg", 0).cell), is_control=is_control)


def test_tuning_is_no_part_of_the_address_and_everything_else_is(make_record):
    cell = make_record("dlg", 0).cell
    assert address_of(cell) == address_of(cell.model_copy(update={"tuning": "paper"}))
    for change in ({"preset": "x"}, {"is_control": True}, {"victim_seed": 5}, {"precision": "bf16"}):
        assert address_of(cell) != address_of(cell.model_copy(update=change))
