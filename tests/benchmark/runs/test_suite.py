"""Suites: what is valid, what is not and what is said about it, and which part of a suite is asked for."""

import re

import pytest

from gradinv.benchmark.experiment.controls import CONTROLS
from gradinv.benchmark.runs.plan import hash_of
from gradinv.benchmark.runs.selection import select
from gradinv.benchmark.runs.shipped import suite_names
from gradinv.benchmark.runs.suite import SuiteError, load_suite, suite_path
from gradinv.benchmark.strict_yaml import read_yaml

TWO_BATCH_NORMS = {"model": "test_resnet", "state": "untrained"}
LENET = {"model": "lenet_dlg", "state": "untrained"}


@pytest.fixture
def load(write_suite):
    """Loads a tiny suite with these settings."""
    return lambda overrides=None, **settings: load_suite(write_suite(**settings), overrides)


@pytest.fixture
def fault(load):
    """What is said of a tiny suite with these settings: one line that names the file."""

    def said(overrides=None, **settings):
        with pytest.raises(SuiteError) as caught:
            load(overrides, **settings)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return said


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_are_valid(name):
    suite = load_suite(suite_path(name))
    assert suite.name == name
    assert suite.description


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"batch_sixes": [1]}, "did you mean batch_sizes?"),
        ({"batch-size": [1]}, "did you mean batch_sizes?"),
        ({"descripton": "x"}, "did you mean description?"),
        ({"grid": []}, "did you mean grids?"),
        ({"contrasts": [{"name": "x", "attack": "dlg", "agains": "dlg"}]}, "did you mean against?"),
        ({"contrasts": [{"name": "x", "attack": "dlg", "against": "dgl"}]}, "unknown attack 'dgl'"),
        ({"contrasts": [{"name": "x", "attack": "dlg", "against": "idlg"}]}, "unknown attack of this suite 'idlg'"),
        ({"threat_model": {"lables": "known"}}, "did you mean labels?"),
        ({"victims": [{**LENET, "sed": 1}]}, "did you mean seed?"),
        ({"attacks": ["dgl"]}, "attacks: unknown attack 'dgl'; did you mean dlg, idlg?"),
        ({"attacks": ["gradinversion.no_bm"]}, "did you mean gradinversion.no_bn"),
        ({"attacks": ["dlg[rl=1]"]}, "unknown parameter of attack 'dlg' 'rl'; did you mean lr?"),
        ({"attacks": ["dlg[lr=fast]"]}, "lr='fast' is not valid"),
        ({"attacks": ["dlg[lr"]}, "is no key"),
        ({"defenses": ["gausian_noise"]}, "did you mean gaussian_noise"),
        ({"defenses": ["gaussian_noise[sigma=-1]"]}, "sigma=-1 is not valid"),
        ({"controls": ["same_clas"]}, "did you mean same_class?"),
        ({"metrics": ["psrn"]}, "did you mean psnr?"),
    ],
)
def test_wrong_names_come_with_the_nearest_valid_one(fault, settings, named):
    assert named in fault(**settings)


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"victims": []}, "victims"),
        ({"victims": None}, "victims: Field required"),
        ({"victims": [{"model": "lenet_dlg"}]}, "victims.state: Field required"),
        ({"victims": [{**LENET, "state": "tired"}]}, "victims.state"),
        ({"victims": [{**LENET, "epochs": 3}]}, "epochs is for state trained"),
        ({"attacks": "dlg"}, "attacks: Input should be a valid list"),
        ({"controls": "some"}, "controls: Input should be a valid list"),
        ({"threat_model": {"labels": "perhaps"}}, "threat_model.labels"),
        ({"batch_sizes": [0]}, "batch sizes lie in 1..512"),
        ({"batches": 0}, "batches: Input should be greater than 0"),
        ({"batches": {1: 0}}, "batches"),
        ({"budget": 0}, "budget: Input should be greater than 0"),
        ({"budget": "cheap"}, "budget: Input should be 'paper'"),
        ({"image_size": 2}, "image_size: 2 is no number of pixels in 8..1024"),
        ({"image_size": 100_000}, "image_size: 100000 is no number of pixels in 8..1024"),
        ({"image_size": [64, 2]}, "image_size: [64, 2] is no number of pixels in 8..1024"),
        ({"image_size": "64 x 80"}, "image_size: 64 x 80 is no number of pixels in 8..1024, and no height and width"),
        ({"image_size": True}, "image_size: True is no number of pixels"),
        ({"batches": 100_000_000}, "batches: Input should be less than or equal to 10000"),
        ({"batches": {1: 100_000_000}}, "batches: Input should be less than or equal to 10000"),
        ({"batches": True}, "batches: Input should be a valid integer"),
        ({"batch_sizes": [100_000]}, "batch sizes lie in 1..512"),
        ({"batch_sizes": [True]}, "batch_sizes: Input should be a valid integer"),
        ({"budget": 10**12}, "budget: Input should be less than or equal to 100000000"),
        ({"budget": float("inf")}, "budget: Input should be"),
        ({"budget": True}, "budget: Input should be"),
        ({"grids": 3}, "grids must be a list of mappings"),
        ({"name": 5}, "name: Input should be a valid string"),
    ],
)
def test_wrong_values_are_named_by_their_place(fault, settings, place):
    assert place in fault(**settings)


def test_a_wrong_item_is_not_also_called_too_short(fault):
    assert "at least 1 item" not in fault(victims=[{"model": "lenet_dlg"}])
    assert "at least 1 item" in fault(victims=[])


@pytest.mark.parametrize("text", ["a: [1\n", "- dlg\n", "", "just words", "\x00", "a: !!python/object:os.system x"])
def test_files_that_hold_no_suite(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(SuiteError, match=r"^.*broken\.yaml (is no readable YAML|must hold a mapping)") as caught:
        load_suite(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text(tmp_path):
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(SuiteError, match="no readable YAML"):
        load_suite(path)


@pytest.mark.parametrize("name", ["quik", "nowhere.yaml", "."])
def test_suites_that_do_not_exist(name):
    with pytest.raises(SuiteError, match=r"unknown suite.*quick"):
        suite_path(name)


def test_grids_go_over_the_top(load):
    grids = [{"attacks": ["idlg"]}, {"budget": 7, "threat_model": {"labels": "none"}}]
    first, second = load(grids=grids, threat_model={"bn_mode": "eval", "labels": "counts"}).blocks
    assert (first.attacks, first.budget, first.threat_model.labels) == (("idlg",), 5, "counts")
    assert (second.attacks, second.budget, second.threat_model.labels) == (("dlg",), 7, "none")


def test_settings_go_over_every_grid(load):
    grids = [{"budget": 7}, {"threat_model": {"labels": "none"}}]
    overrides = {"budget": 9, "threat_model.bn_statistics": "none", "batches.1": 3}
    blocks = load(overrides, grids=grids, batches={1: 8, 4: 2}).blocks
    assert [block.budget for block in blocks] == [9, 9]
    assert [block.threat_model.labels for block in blocks] == ["known", "none"]
    assert {block.threat_model.bn_statistics for block in blocks} == {"none"}
    assert [block.batches_of(1) for block in blocks] == [3, 3]


def test_a_part_of_what_has_no_parts_cannot_be_set(fault):
    assert "set batches whole" in fault({"batches.1": 3}, batches=2)
    assert "set victims whole" in fault({"victims.seed": 3})


def test_controls_and_budget_by_word(load):
    assert load(controls="all").blocks[0].controls == CONTROLS
    assert load(controls=None).blocks[0].controls == CONTROLS
    assert load(controls="none").blocks[0].controls == ()
    assert load(budget="paper").blocks[0].budget == "paper"


def test_a_later_control_that_makes_no_row_leaves_the_hash_alone(load):
    """Published boards name the hash of their suite, and `all` had one control less."""
    earlier = [name for name in CONTROLS if name != "other_statistics"]
    running, exact = (
        {"attacks": ["gradinversion"], "threat_model": {"bn_statistics": level}} for level in ("running", "exact")
    )
    assert hash_of(load(**running, controls="all")) == hash_of(load(**running, controls=earlier))
    assert hash_of(load(**exact, controls="all")) != hash_of(load(**exact, controls=earlier))


def test_keys_are_canonical(load):
    block = load(attacks=["inverting_gradients[lr=1, alpha_tv=1e-4]"], defenses=["gaussian_noise[sigma=1]"]).blocks[0]
    assert block.attacks == ("inverting_gradients[alpha_tv=0.0001,lr=1.0]",)
    assert block.defenses == ("gaussian_noise[sigma=1.0]",)


def test_batches_must_say_something_of_every_size(load):
    suite = load(batches={1: 2}, batch_sizes=[1, 4])
    with pytest.raises(SuiteError, match="batches says nothing of batch size 4; add `4: N`"):
        select(suite)


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ("weight_update", "does not say how the client trains; give lr"),
        ("weight_update[lr=0.1,order=unknown]", "order=unknown is an attacker's"),
        ("weight_update[lr=-1]", "greater than 0"),
    ],
)
def test_a_client_says_how_it_trains(fault, update, reason):
    assert reason in fault(threat_model={"update": update})


def test_an_attack_stands_in_for_the_suites_own(load):
    suite = load(attacks=["dlg", "idlg"])
    assert select(suite, attacks=["inverting_gradients[lr=1]"]).blocks[0].attacks == ("inverting_gradients[lr=1.0]",)
    assert select(suite, attacks=["dlg", "dlg"]).blocks[0].attacks == ("dlg",)
    with pytest.raises(SuiteError, match="did you mean"):
        select(suite, attacks=["dgl"])


def test_a_wildcard_keeps_the_attacks_that_match(load):
    suite = load(grids=[{"attacks": ["dlg", "idlg"]}, {"attacks": ["inverting_gradients"]}])
    assert [block.attacks for block in select(suite, attacks=["*dlg"]).blocks] == [("dlg", "idlg")]
    assert [block.attacks for block in select(suite, attacks=["?dlg", "inv*"]).blocks] == [
        ("idlg",),
        ("inverting_gradients",),
    ]


def test_wildcards_over_keys_take_brackets_as_they_are(load):
    suite = load(
        attacks=["dlg[lr=0.5]", "idlg[lr=0.5]"],
        victims=[LENET, {**TWO_BATCH_NORMS, "stem": "cifar"}],
        defenses=["none", "gaussian_noise[sigma=0.1]"],
    )
    chosen = select(suite, attacks=["d*[lr=0.5]"], victims="test_resnet[stem=cifar]", defenses="gauss*[sigma=0.1]")
    block = chosen.blocks[0]
    assert block.attacks == ("dlg[lr=0.5]",)
    assert [victim.model for victim in block.victims] == ["test_resnet"]
    assert block.defenses == ("gaussian_noise[sigma=0.1]",)


def test_batch_sizes_and_limit(load):
    suite = load(batch_sizes=[1, 2, 4], batches={1: 8, 2: 4, 4: 1})
    block = select(suite, batch_sizes=[1, 4], limit=2).blocks[0]
    assert block.batch_sizes == (1, 4)
    assert [block.batches_of(size) for size in block.batch_sizes] == [2, 1]


@pytest.mark.parametrize("filters", [{"victims": "vgg*"}, {"defenses": "x"}, {"batch_sizes": [3]}, {"attacks": ["x*"]}])
def test_nothing_left(load, filters):
    with pytest.raises(SuiteError, match="nothing of suite tiny is left"):
        select(load(), **filters)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("batches: 010", "line 1: 010 is no decimal number"),
        ("budget: 1:30", "line 1: 1:30 is no decimal number"),
        ("name: x\nbudget: -0b1\nbatches: 1:30.5", "line 3: 1:30.5 is no decimal number"),
        ("batches: 1\nname: x\nbatches: 2", "line 3: 'batches' is given twice"),
        ("threat_model: {labels: none, labels: known}", "'labels' is given twice"),
        ("a: " + "[" * 100_000, "no readable YAML"),
        ("a: " + "9" * 100_000, "no readable YAML"),
        ("date: 2020-13-45", "no readable YAML"),
        ("? [a, b]\n: 1", "no readable YAML"),
        ("a: !!python/object/apply:os.system [ls]", "no readable YAML"),
    ],
)
def test_yaml_that_would_be_read_as_something_else_is_refused_with_its_line(tmp_path, text, reason):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(SuiteError) as caught:
        load_suite(path)
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_yaml_with_anchors_and_decimal_numbers_is_read():
    text = "base: &base {a: 1, b: 0}\nmore: {<<: *base, b: 0.5}\nhex: '010'\nkeys: {1: 4, 8: 2}"
    assert read_yaml(text) == {
        "base": {"a": 1, "b": 0}, "more": {"a": 1, "b": 0.5}, "hex": "010", "keys": {1: 4, 8: 2}
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["../../x", "/tmp/x", "a/b", "a\\b", "..", ".", "", ".hidden", "C:x", "a\nb", " a", "\x1b[1m"]
)
def test_a_suite_s_name_chooses_no_place(write_suite, name):
    with pytest.raises(SuiteError, match="name: ") as caught:
        load_suite(write_suite(name=name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"victims": [{"model": "lenet_dlg", "state": "untrained", "seed": -1}]}, "seed"),
        ({"victims": [{"model": "lenet_dlg", "state": "untrained", "seed": True}]}, "seed"),
        ({"victims": [{"model": "lenet_dlg", "state": "untrained", "seed": 2**63}]}, "seed"),
        ({"victims": [{"model": "lenet_dlg", "state": "trained", "epochs": 10**9}]}, "epochs"),
        ({"victims": [{"model": "lenet_dlg", "state": "trained", "epochs": True}]}, "epochs"),
        ({"threat_model": {"max_equal_labels": True}}, "max_equal_labels"),
        ({"threat_model": {"max_equal_labels": 10**30}}, "max_equal_labels"),
        ({"threat_model": {"adaptive": 1}}, "adaptive"),
        ({"attacks": ["dlg[lr=inf]"]}, "lr=inf is not valid"),
        ({"attacks": ["dlg[lr=true]"]}, "lr=True is not valid"),
        ({"attacks": ["inverting_gradients[alpha_tv=inf]"]}, "alpha_tv=inf is not valid"),
        ({"attacks": ["dlg[iterations=true]"]}, "iterations=True is not valid"),
        ({"defenses": ["gaussian_noise[sigma=inf]"]}, "sigma=inf is not valid"),
        ({"defenses": ["gaussian_noise[sigma=nan]"]}, "sigma=nan is not valid"),
        ({"defenses": ["pruning[ratio=true]"]}, "ratio=True is not valid"),
        ({"batches": True}, "batches"),
        ({"budget": float("inf")}, "budget"),
    ],
)
def test_numbers_that_are_none_are_refused(write_suite, settings, reason):
    with pytest.raises(SuiteError, match=re.escape(reason)):
        load_suite(write_suite(**settings))


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"attacks": ["dgl"]}, "--set attacks: attacks: unknown attack 'dgl'"),
        ({"threat_model.labels": "knwon"}, "--set threat_model.labels: threat_model.labels: unknown"),
        ({"bugdet": 3}, "--set bugdet: 'bugdet' is no known setting; did you mean budget?"),
        ({"budget": True}, "--set budget: budget: "),
        ({"name": "x"}, "--set name: is set in the suite's file alone"),
        ({"x" * 10_000: 1}, "is no known setting"),
    ],
)
def test_what_is_set_wrongly_names_the_option_and_not_the_file(write_suite, overrides, text):
    path = write_suite()
    with pytest.raises(SuiteError) as caught:
        load_suite(path, overrides)
    assert text in str(caught.value)
    assert str(path) not in str(caught.value)


def test_faults_of_the_file_are_the_file_s_beside_those_of_an_option(write_suite):
    path = write_suite(batches=0)
    with pytest.raises(SuiteError) as caught:
        load_suite(path, {"budget": -1})
    assert f"{path}: batches" in str(caught.value)
    assert "--set budget: budget: " in str(caught.value)


@pytest.mark.parametrize(
    ("filters", "reason"),
    [
        ({"victims": "nope"}, "--victim nope fits none of lenet_dlg"),
        ({"defenses": "x*"}, "--defense x* fits none of none"),
        ({"attacks": ["x*"]}, "--attack x* fits none of dlg"),
        ({"batch_sizes": [3, 5]}, "--batch-size 3, 5 fits none of 1, 2"),
        ({"victims": "lenet*", "batch_sizes": [3]}, "--batch-size 3 fits none of 1, 2"),
    ],
)
def test_the_filter_that_nothing_passes_is_named(write_suite, filters, reason):
    with pytest.raises(SuiteError, match=re.escape(f"nothing of suite tiny is left: {reason}")):
        select(load_suite(write_suite(batch_sizes=[1, 2])), **filters)


def test_filters_that_pass_different_grids_are_named_together(write_suite):
    grids = [{"batch_sizes": [1]}, {"batch_sizes": [2], "defenses": ["pruning"]}]
    suite = load_suite(write_suite(grids=grids))
    with pytest.raises(SuiteError, match=r"no grid has something for --defense none and --batch-size 2 at once"):
        select(suite, defenses="none", batch_sizes=[2])
