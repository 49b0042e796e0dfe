"""`show model`, `show dataset` and what `doctor` says of data: what is there, counted, and what is not."""

import timm
import torch

import gradinv as api


def test_a_model_is_shown_with_its_parameters_at_each_size(gradinv):
    result = gradinv("show", "model", "test_vit")
    expected = sum(p.numel() for p in timm.create_model("test_vit", num_classes=10, img_size=32).parameters())
    assert f"at 32 px, 10 classes: {expected:,} parameters, no batch norm" in result.out
    module = timm.create_model("test_resnet", num_classes=10)
    layers = [layer for layer in module.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    counted = f"{len(layers)} batch-norm layers of {sum(layer.num_features for layer in layers)} channels"
    assert counted in gradinv("show", "model", "test_resnet").out


def test_a_data_set_is_shown_with_its_splits(gradinv):
    shown = gradinv("show", "dataset", "photos").out
    data = api.load_data("photos")
    for role in ("train", "tuning", "evaluation"):
        split = data.split(role)
        assert f"{role}: {len(split):,} images, content {split.content_hash[:16]}" in shown


def test_what_is_not_there_is_one_line(gradinv):
    for kind, name, message in (
        ("model", "resnet1", "did you mean resnet18"),
        ("dataset", "photo", "did you mean photos"),
        ("dataset", "cifar10", "cifar10 is not in"),
    ):
        result = gradinv("show", kind, name)
        assert (result.status, result.out) == (2, "")
        assert message in result.err
        assert result.err.count("\n") == 1


def test_doctor_claims_no_data_that_is_not_there(gradinv):
    said = gradinv("doctor").out
    assert "data         photos: 512 images to attack\n" in said
    assert "data         cifar10: not here: cifar10 is not in" in said
    assert "identity_lowpass: available" in said
