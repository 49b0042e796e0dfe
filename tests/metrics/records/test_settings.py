"""Settings: which columns decide what may be compared, and what a later one is in older tables."""

from gradinv.metrics.records.record import Cell
from gradinv.metrics.records.settings import (
    IDENTITY,
    LATER,
    LATER_WORDS,
    SETTING,
    by_setting,
    setting_of,
    slug,
    title,
    varying,
)


def test_a_cell_is_its_attack_and_its_setting():
    attack = {"attack", "preset", "parameters", "tuning", "is_control"}
    assert set(Cell.model_fields) == attack | set(SETTING) | set(IDENTITY)
    assert [name for name in Cell.model_fields if name in SETTING] == list(SETTING)


def test_later_columns_have_one_default_in_tables_and_records():
    assert LATER == {
        "precision": "float32",
        "buffers": "withheld",
        "client_precision": "float32",
        "simulation": "strong",
        "equal_labels": 1,
        "observations": 1,
        "server_lr": 1.0,
        "auxiliary_images": "none",
        "split": "evaluation",
    }
    assert {name: Cell.model_fields[name].default for name in LATER} == LATER
    assert {name: str(value) for name, value in LATER.items()} | {
        "specification": "",
        "arm": "",
        "context": "",
    } == LATER_WORDS


def test_a_later_column_is_named_only_where_it_is_not_the_default(make_record):
    plain, other = (make_record("dlg", 0, precision=name).cell for name in ("float32", "bf16"))
    settings = [setting_of(plain), setting_of(other)]
    assert varying(settings) == []
    assert ["precision" in title(setting) for setting in settings] == [False, True]
    assert slug(settings[1]) == f"{slug(settings[0])}-precision=bf16"
    assert len(by_setting([plain, other])) == 2


def test_titles_add_what_alone_tells_settings_apart(make_record):
    cells = [
        make_record("dlg", 0, labels=labels, granted_numbers_per_pixel=n).cell
        for labels, n in (("known", 0), ("none", 1))
    ]
    assert varying(setting_of(cell) for cell in cells) == ["labels"]
    assert varying([]) == []
