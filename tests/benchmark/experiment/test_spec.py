"""The specification: the id changes with everything that changes a result, and with nothing else."""

import importlib.metadata
import json

import pytest

from gradinv.attacks.leak import ThreatModel
from gradinv.benchmark.defenses.clipping import Clipping
from gradinv.benchmark.experiment import spec as spec_module
from gradinv.benchmark.experiment.sources import sources_of
from gradinv.benchmark.experiment.spec import TrialSpec, result_versions
from gradinv.benchmark.victims.spec import VictimSpec
from gradinv.metrics.registry import load_plugin

SPEC = TrialSpec(
    dataset="photos",
    image_size=32,
    data_hash="d",
    victim=VictimSpec(model="lenet_dlg", state="untrained"),
    weights_hash="w",
    attack="dlg",
    hyperparameters={"lr": 1.0, "restarts": 2},
    defense="none",
    threat_model=ThreatModel(),
    batch_size=1,
    repetition=0,
    budget=10,
    metrics=("psnr",),
    sources={"attack mine": "s", "metric mine": "t"},
    versions={"gradinv": "0.1", "torch": "2"},
)
CHANGES = {
    "dataset": "cifar10",
    "image_size": 16,
    "data_hash": "e",
    "victim": VictimSpec(model="lenet_dlg", state="untrained", seed=1),
    "weights_hash": "x",
    "attack": "idlg",
    "hyperparameters": {"lr": 0.5, "restarts": 2},
    "control": "prior_only",
    "defense": "clipping",
    "threat_model": ThreatModel(labels="none"),
    "batch_size": 2,
    "repetition": 1,
    "split": "tuning",
    "budget": None,
    "metrics": ("psnr", "ssim"),
    "device": "cuda",
    "threads": 2,
    "engine": "compiled",
    "together": 8,
    "precision": "bf16",
    "sources": {"attack mine": "u", "metric mine": "t"},
    "versions": {"gradinv": "0.1", "torch": "3"},
}


@pytest.fixture
def fresh_versions():
    """Versions are read anew before and after the test."""
    result_versions.cache_clear()
    yield
    result_versions.cache_clear()


def test_every_field_is_changed_below():
    assert set(CHANGES) == set(TrialSpec.model_fields)


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_every_field_changes_the_id(field):
    assert SPEC.model_copy(update={field: CHANGES[field]}).id != SPEC.id


def test_the_id_survives_a_round_trip_and_the_order_of_names():
    read = TrialSpec.model_validate(json.loads(SPEC.model_dump_json()))
    turned = {
        field: dict(reversed(getattr(SPEC, field).items())) for field in ("hyperparameters", "sources", "versions")
    }
    assert read.id == SPEC.id == SPEC.model_copy(update=turned).id
    assert len(SPEC.id) == 16


def test_seeds_depend_on_data_set_and_repetition_only():
    without_influence = {"dataset", "repetition"} ^ set(CHANGES)
    for field in without_influence:
        assert SPEC.model_copy(update={field: CHANGES[field]}).seed("attack") == SPEC.seed("attack"), field
    seeds = {SPEC.model_copy(update={field: CHANGES[field]}).seed("attack") for field in ("dataset", "repetition")}
    assert len(seeds | {SPEC.seed("attack"), SPEC.seed("defense")}) == 4


@pytest.mark.parametrize(
    ("package", "changed", "matters"),
    [("pandas", "99.0", False), ("torch", "99.0", True), ("timm", "99.0", True), ("gradinv", "99.0", True)],
)
def test_versions_that_matter(monkeypatch, fresh_versions, package, changed, matters):
    installed = result_versions()
    result_versions.cache_clear()
    real = importlib.metadata.version
    monkeypatch.setattr(spec_module, "version", lambda name: changed if name == package else real(name))
    assert (result_versions() != installed) == matters


@pytest.mark.parametrize(("version", "matters"), [("2.999.1", False), ("3.0.0", True)])
def test_of_torch_only_the_major_version_matters(monkeypatch, fresh_versions, version, matters):
    monkeypatch.setattr(spec_module, "version", lambda name: version if name == "torch" else "1.2.3")
    assert (result_versions()["torch"] != "2") == matters


def test_our_own_sources_and_timms_are_not_hashed():
    assert sources_of("dlg", "clipping", ("psnr", "ssim"), "photos", "lenet_dlg") == {}
    assert sources_of("", "none", ("psnr",), "cifar10", "resnet18.a1_in1k") == {}


def test_the_source_of_a_plugged_attack_is_hashed(tools, tmp_path):
    path = tools.make_plugin(tmp_path / "hashed.py", "hashed")
    load_plugin(path)
    before = sources_of("hashed[step=2.0]", "none", ("psnr",), "photos", "lenet_dlg")
    path.write_text(path.read_text().replace("100", "200"))
    after = sources_of("hashed[step=2.0]", "none", ("psnr",), "photos", "lenet_dlg")
    assert list(before) == list(after) == ["attack hashed[step=2.0]"]
    assert before != after


def test_what_a_plugin_imports_from_beside_it_is_hashed_with_it(tools, tmp_path):
    path = tools.make_plugin(tmp_path / "helped.py", "helped")
    path.write_text("import steps\n" + path.read_text())
    (tmp_path / "steps.py").write_text("from more import SIZE\n")
    (tmp_path / "more.py").write_text("import steps\nSIZE = 1\n")
    (tmp_path / "unused.py").write_text("SIZE = 1\n")
    load_plugin(path)
    hashes = []
    for name in ("helped", "unused.py", "steps.py", "more.py"):
        if name != "helped":
            (tmp_path / name).write_text((tmp_path / name).read_text() + "# edited\n")
        hashes.append(sources_of("helped", "none", ("psnr",), "photos", "lenet_dlg")["attack helped"])
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_the_source_of_a_plugged_network_is_hashed(tmp_path):
    path = tmp_path / "network.py"
    path.write_text(
        "import timm\nfrom timm.models import register_model\n\n"
        "@register_model\ndef plugged_network(pretrained=False, **options):\n"
        "    return timm.create_model('test_resnet', **options)\n"
    )
    load_plugin(path)
    assert list(sources_of("dlg", "none", ("psnr",), "photos", "plugged_network")) == ["model plugged_network"]


def test_the_source_of_a_metric_that_is_an_object_is_hashed(tmp_path):
    path = tmp_path / "metric.py"
    path.write_text(
        "from gradinv.metrics.images.scoring import register_metric\n\n"
        "class Zero:\n    def __call__(self, images, originals):\n        return images.flatten(1).sum(1) * 0\n\n"
        "register_metric('zero', title='Zero', direction='higher', low=0.0, high=0.0)(Zero())\n"
    )
    load_plugin(path)
    assert list(sources_of("dlg", "none", ("zero",), "photos", "lenet_dlg")) == ["metric zero"]


@pytest.mark.parametrize(
    ("field", "shared"),
    [
        ("repetition", True),
        ("defense", True),
        ("control", False),
        ("batch_size", False),
        ("hyperparameters", False),
        ("weights_hash", False),
        ("threads", False),
    ],
)
def test_which_trials_may_run_side_by_side(field, shared):
    """`prior_only` is blind, so that it cannot share a descent with what sees a gradient; other controls can."""
    assert (SPEC.model_copy(update={field: CHANGES[field]}).pack == SPEC.pack) == shared
    assert SPEC.model_copy(update={"control": "other_gradient"}).pack == SPEC.pack


def test_a_defense_that_changes_the_network_has_packs_of_its_own(monkeypatch):
    monkeypatch.setattr(Clipping, "changes_model", True)
    clipped = SPEC.model_copy(update={"defense": "clipping"})
    assert clipped.pack != SPEC.pack
    assert clipped.pack == clipped.model_copy(update={"repetition": 1}).pack
    assert clipped.pack != clipped.model_copy(update={"defense": "clipping[max_norm=2.0]"}).pack


def test_without_known_weights_there_is_no_id():
    with pytest.raises(ValueError, match="weights of lenet_dlg are not known yet"):
        _ = SPEC.model_copy(update={"weights_hash": None}).id


def test_a_threat_model_of_before_a_field_came_has_the_id_that_it_had():
    assert not {"buffers", "simulation"} & set(SPEC.model_dump()["threat_model"])
    sends = SPEC.model_copy(update={"threat_model": ThreatModel(buffers="sent")})
    assert sends.model_dump()["threat_model"]["buffers"] == "sent"
    assert TrialSpec.model_validate(sends.model_dump()) == sends
    assert sends.id != SPEC.id


def test_the_split_that_every_earlier_trial_had_changes_no_id():
    assert "split" not in SPEC.model_dump() | json.loads(SPEC.model_dump_json())
    assert SPEC.model_copy(update={"split": "tuning"}).model_dump()["split"] == "tuning"


def test_a_precision_of_the_client_that_everybody_has_changes_no_id_and_another_does() -> None:
    assert "client_precision" not in ThreatModel().model_dump() | ThreatModel(labels="none").model_dump(mode="json")
    assert ThreatModel(client_precision="float64").model_dump()["client_precision"] == "float64"
    assert ThreatModel(**ThreatModel().model_dump()).client_precision == "float32"
