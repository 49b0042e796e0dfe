"""Controls change what they say and nothing else."""

from collections.abc import Callable

import pytest
import torch

from gradinv.attacks.leak import Leak
from gradinv.attacks.registry import create_attack
from gradinv.benchmark.datasets.batches import draw_batch, mean_image
from gradinv.benchmark.experiment import controls
from gradinv.benchmark.experiment.client import ImpossibleCellError

LAYERS = {"weight": (40, 30), "bias": (40,), "scale": (), "dead": (5,)}


@pytest.fixture
def leak() -> Leak:
    """Gradients of very different sizes, one of them zero."""
    generator = torch.Generator().manual_seed(0)
    gradients = {
        name: torch.randn(shape, generator=generator) * 10**i for i, (name, shape) in enumerate(LAYERS.items())
    }
    gradients["dead"].zero_()
    statistics = ((torch.ones(2), torch.ones(2)),)
    return Leak(gradients, 2, (3, 4, 4), 5, (0.0,), (1.0,), labels=torch.tensor([1, 3]), bn_statistics=statistics)


def test_every_control_is_named_and_explained() -> None:
    assert set(controls.MEANING) == set(controls.CONTROLS)
    of_an_attack = ("other_gradient", "noise_gradient", "prior_only", "other_statistics", "no_statistics")
    assert (*of_an_attack, "same_class", "mean_image") == controls.CONTROLS


def test_noise_keeps_each_tensors_norm_and_the_rest_of_the_leak(leak: Leak) -> None:
    noisy = controls.noise_gradient(leak, seed=1)
    for name, value in leak.gradients.items():
        assert noisy.gradients[name].shape == value.shape
        assert noisy.gradients[name].norm().item() == pytest.approx(value.norm().item(), rel=1e-5)
    assert not noisy.gradients["dead"].any()
    unchanged = ("labels", "bn_statistics", "threat_model", "batch_size", "mean", "std")
    assert all(getattr(noisy, name) is getattr(leak, name) for name in unchanged)


def test_noise_is_gaussian_and_knows_nothing_of_the_gradient(leak: Leak) -> None:
    noise = controls.noise_gradient(leak, seed=1).gradients["weight"].flatten()
    standard = noise / noise.norm() * len(noise) ** 0.5
    assert abs(float(standard.mean())) < 4 / len(noise) ** 0.5
    assert float((standard**4).mean()) == pytest.approx(3, abs=0.6)
    cosine = torch.nn.functional.cosine_similarity(noise, leak.gradients["weight"].flatten(), dim=0)
    assert abs(float(cosine)) < 4 / len(noise) ** 0.5


def test_noise_is_seeded_and_leaves_its_input_alone(leak: Leak) -> None:
    before = {name: value.clone() for name, value in leak.gradients.items()}
    first, again, other = (controls.noise_gradient(leak, seed).gradients["weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert all(torch.equal(before[name], value) for name, value in leak.gradients.items())


def test_prior_only_is_impossible_for_an_attack_without_a_prior() -> None:
    with pytest.raises(ImpossibleCellError, match="has no prior"):
        controls.prior_only(create_attack("dlg"))
    attack = create_attack("inverting_gradients[alpha_tv=0.5]")
    blind = controls.prior_only(attack)
    assert repr(blind) == repr(attack)
    assert blind is not attack


@pytest.mark.parametrize("repetition", range(3))
def test_another_batch_has_the_same_labels_and_none_of_the_images(make_dataset: Callable, repetition: int) -> None:
    dataset = make_dataset()
    batch = draw_batch(dataset, repetition=repetition, batch_size=4)
    decoy, note = controls.decoy_batch(dataset, batch, repetition)
    assert (decoy.labels.tolist(), note) == (batch.labels.tolist(), "")
    assert not set(decoy.hashes) & set(batch.hashes)
    same_class = controls.other_images(dataset, batch, repetition)
    assert not any(torch.equal(image, other) for image in same_class for other in batch.images)
    assert not torch.equal(same_class, decoy.images)


def test_a_class_of_one_image_has_no_other(make_dataset: Callable) -> None:
    dataset = make_dataset(held_out=2)
    batch = draw_batch(dataset, repetition=0, batch_size=2)
    with pytest.raises(ImpossibleCellError, match="no other image"):
        controls.other_images(dataset, batch, 0)


def test_where_a_class_has_one_image_others_stand_under_its_label(make_dataset: Callable) -> None:
    dataset = make_dataset(held_out=2)
    batch = draw_batch(dataset, repetition=0, batch_size=2)
    decoy, note = controls.decoy_batch(dataset, batch, 0)
    assert decoy.labels.tolist() == batch.labels.tolist()
    assert len({*decoy.hashes, *batch.hashes}) == 4
    true_labels = dataset.split("evaluation").labels[list(decoy.indices)]
    assert all(label != own for label, own in zip(decoy.labels.tolist(), true_labels, strict=True))
    assert "images of other classes" in note
    everything = draw_batch(dataset, repetition=0, batch_size=4)
    with pytest.raises(ImpossibleCellError, match="no other images"):
        controls.decoy_batch(dataset, everything, 0)


def test_no_statistics_leaves_the_other_priors() -> None:
    with pytest.raises(ImpossibleCellError, match="uses no granted statistics"):
        controls.no_statistics(create_attack("inverting_gradients"))
    with pytest.raises(ImpossibleCellError, match="nothing is left without statistics"):
        controls.no_statistics(create_attack("gradinversion.fidelity[alpha_tv=0,alpha_l2=0]"))
    blind = controls.no_statistics(create_attack("gradinversion.fidelity"))
    assert blind.distance is None
    assert len(blind.priors) == 2
    assert not blind.uses_statistics


def test_what_stands_in_without_an_attack(make_dataset: Callable) -> None:
    dataset = make_dataset()
    batch = draw_batch(dataset, repetition=0, batch_size=3)
    mean = controls.without_attack("mean_image", dataset, batch, 0)
    train = dataset.split("train").array.astype("float64").mean(axis=0).transpose(2, 0, 1) / 255
    torch.testing.assert_close(mean.images, torch.tensor(train).float().expand(3, -1, -1, -1), rtol=0, atol=1e-6)
    assert torch.equal(mean.images[0], mean_image(dataset))
    same = controls.without_attack("same_class", dataset, batch, 0)
    assert torch.equal(same.images, controls.other_images(dataset, batch, 0))
    for reconstruction in (mean, same):
        assert reconstruction.labels.tolist() == []
        assert (reconstruction.evaluations, reconstruction.objective_end, reconstruction.label_method) == (0, None, "")
