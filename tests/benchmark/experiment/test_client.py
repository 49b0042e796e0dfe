"""The client's update is the gradient it claims to be; the Leak holds what is granted; the self-check sees through."""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from gradinv.attacks.leak import Leak, ThreatModel
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets.batches import Batch
from gradinv.benchmark.defenses import Defense, create_defense
from gradinv.benchmark.experiment.client import (
    ClientUpdate,
    ImpossibleCellError,
    InconsistentExperimentError,
    client_update,
    observe,
    self_check,
    update_difference,
)
from gradinv.benchmark.victims.networks import build_network
from gradinv.benchmark.victims.normalisation import denormalise, normalise
from gradinv.benchmark.victims.zero_gradients import zero_gradient_share

LABELS = torch.tensor([2, 0, 2])
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
MODES = pytest.mark.parametrize("bn_mode", ["eval", "train"])


@pytest.fixture
def module() -> nn.Module:
    """A smooth network with batch norm and dropout in float64, its running statistics not at their initial values."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 4 * 4, 5)
        )
    net.double()[1].running_mean.fill_(0.2)
    net[1].running_var.fill_(0.6)
    return net


@pytest.fixture
def images() -> Tensor:
    """Three normalised images."""
    return torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def updated(module: nn.Module, images: Tensor, *, bn_mode: str = "eval", defense: str = "none") -> ClientUpdate:
    return client_update(
        module, images, LABELS[: len(images)], bn_mode=bn_mode, defense=create_defense(defense), seed=0
    )


@MODES
@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_equals_a_finite_difference_of_the_mean_cross_entropy(
    module: nn.Module, images: Tensor, bn_mode: str, seed: int
) -> None:
    gradients = updated(module, images, bn_mode=bn_mode).sent
    generator = torch.Generator().manual_seed(seed)
    direction = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in module.named_parameters()}

    def mean_cross_entropy(step: float) -> float:
        moved = copy.deepcopy(module).eval()
        moved[1].train(bn_mode == "train")
        for name, parameter in moved.named_parameters():
            parameter.data += step * direction[name]
        logits = moved(images).detach().numpy()
        log_sum = np.log(np.exp(logits).sum(axis=1))
        return float(np.mean([log_sum[i] - logits[i, label] for i, label in enumerate(LABELS.tolist())]))

    numeric = (mean_cross_entropy(1e-5) - mean_cross_entropy(-1e-5)) / 2e-5
    exact = sum(float((gradients[name] * direction[name]).sum()) for name in direction)
    assert exact == pytest.approx(numeric, rel=1e-6)


@MODES
def test_the_callers_network_is_left_as_it_was(module: nn.Module, images: Tensor, bn_mode: str) -> None:
    frozen, *trained = dict(module.named_parameters())
    module.get_parameter(frozen).requires_grad_(False)
    before = copy.deepcopy(module.state_dict())
    update = updated(module, images, bn_mode=bn_mode)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(p.grad is None and p.requires_grad == (n != frozen) for n, p in module.named_parameters())
    assert list(update.sent) == list(update.computed) == trained, "what is frozen is not sent"
    assert any(value.any() for value in update.sent.values())


def test_the_defense_changes_what_is_sent_and_not_what_was_computed(module: nn.Module, images: Tensor) -> None:
    plain, noisy = updated(module, images), updated(module, images, defense="gaussian_noise[sigma=0.1]")
    again = updated(module, images, defense="gaussian_noise[sigma=0.1]")
    for name, value in plain.sent.items():
        assert torch.equal(value, plain.undefended[name])
        assert torch.equal(value, noisy.undefended[name])
        assert not torch.equal(value, noisy.sent[name])
        assert torch.equal(noisy.sent[name], again.sent[name])


def test_train_mode_is_impossible_where_a_channel_has_one_value() -> None:
    module = build_network("test_resnet", num_classes=5, image_size=32, untrained=True)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ImpossibleCellError, match="more than one value per channel"):
        updated(module, images[:1], bn_mode="train")
    assert updated(module, images, bn_mode="train").sent
    assert updated(module, images[:1]).sent


def test_other_errors_of_a_network_are_not_called_impossible(images: Tensor) -> None:
    class Broken(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("its own fault")

    with pytest.raises(ValueError, match="its own fault"):
        updated(Broken(2, 2), images)


def observed(module: nn.Module, images: Tensor, bn_mode: str = "eval", **grants: str) -> Leak:
    update = updated(module, images, bn_mode=bn_mode)
    batch = Batch(images, LABELS, ("a", "b", "c"), (0, 1, 2))
    victim = Victim(module, bn_mode=bn_mode)
    threat_model = ThreatModel(bn_mode=bn_mode, **grants)
    return observe(update, victim, batch, threat_model, create_defense("none"), 5, MEAN, STD)


@pytest.mark.parametrize(("grant", "labels"), [("none", None), ("counts", [0, 2, 2]), ("known", [2, 0, 2])])
def test_labels_are_there_as_granted(module: nn.Module, images: Tensor, grant: str, labels: list | None) -> None:
    leak = observed(module, images, labels=grant)
    assert (None if leak.labels is None else leak.labels.tolist()) == labels
    assert (leak.batch_size, leak.image_shape, leak.num_classes) == (3, (3, 6, 6), 5)
    assert (leak.mean, leak.std, leak.threat_model.labels) == (MEAN, STD, grant)


@MODES
def test_batch_norm_statistics_are_there_as_granted(module: nn.Module, images: Tensor, bn_mode: str) -> None:
    assert observed(module, images, bn_mode, bn_statistics="none").bn_statistics is None
    ((mean, var),) = observed(module, images, bn_mode, bn_statistics="running").bn_statistics
    assert torch.equal(mean, torch.full((4,), 0.2, dtype=torch.float64))
    assert torch.equal(var, torch.full((4,), 0.6, dtype=torch.float64))
    ((mean, var),) = observed(module, images, bn_mode, bn_statistics="exact").bn_statistics
    features = module[0](images).detach().numpy()
    np.testing.assert_allclose(mean.numpy(), features.mean(axis=(0, 2, 3)), rtol=1e-10)
    np.testing.assert_allclose(var.numpy(), features.var(axis=(0, 2, 3)), rtol=1e-10)


def test_without_batch_norm_there_are_no_statistics(images: Tensor) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(108, 5)).double()
    for grant in ("none", "running", "exact"):
        assert observed(module, images, bn_statistics=grant).bn_statistics is None


@MODES
@pytest.mark.parametrize("defense", ["none", "gaussian_noise[sigma=10]", "pruning[ratio=1]"])
def test_the_self_check_passes_honest_updates(module: nn.Module, images: Tensor, bn_mode: str, defense: str) -> None:
    self_check(updated(module, images, bn_mode=bn_mode, defense=defense), Victim(module, bn_mode=bn_mode))


def changed_weight(module: nn.Module) -> nn.Module:
    other = copy.deepcopy(module)
    other[5].weight.data[0, 0] += 0.5
    return other


@pytest.mark.parametrize(
    "make_wrong",
    [
        lambda module, update: (update, Victim(module, bn_mode="train")),
        lambda module, update: (replace(update, labels=torch.tensor([2, 0, 1])), Victim(module)),
        lambda module, update: (replace(update, images=update.images + 0.1), Victim(module)),
        lambda module, update: (update, Victim(changed_weight(module))),
        lambda module, update: (
            replace(update, computed={n: v * torch.nan for n, v in update.computed.items()}),
            Victim(module),
        ),
    ],
    ids=["bn_mode", "label", "images", "weight", "not finite"],
)
def test_the_self_check_stops_an_inconsistent_experiment(
    module: nn.Module, images: Tensor, make_wrong: Callable
) -> None:
    update, victim = make_wrong(module, updated(module, images))
    with pytest.raises(InconsistentExperimentError, match="check bn_mode and the victim's weights"):
        self_check(update, victim)


class Mirrored(Defense):
    """A defense on the batch: mirrored images with smoothed labels."""

    def on_batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return images.flip(3), nn.functional.one_hot(labels, 5).to(images.dtype) * 0.9 + 0.02


class Masking(Defense):
    """A defense on the network: a first layer that sees no blue."""

    changes_model = True

    def on_model(self, module: nn.Module) -> nn.Module:
        class WithoutBlue(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x * torch.tensor([1.0, 1.0, 0.0], dtype=x.dtype).view(1, 3, 1, 1)

        return nn.Sequential(WithoutBlue(), copy.deepcopy(module))


def test_a_defense_on_the_batch_is_what_the_client_computes_with(module: nn.Module, images: Tensor) -> None:
    update = client_update(module, images, LABELS, bn_mode="eval", defense=Mirrored(), seed=0)
    parameters = [p.requires_grad_(True) for p in module.eval().parameters()]
    soft = nn.functional.one_hot(LABELS, 5).double() * 0.9 + 0.02
    expected = torch.autograd.grad(nn.functional.cross_entropy(module(images.flip(3)), soft), parameters)
    for value, oracle in zip(update.sent.values(), expected, strict=True):
        torch.testing.assert_close(value, oracle)
    for name, value in updated(module, images).sent.items():
        assert torch.equal(update.undefended[name], value)
    self_check(update, Victim(module))
    batch = Batch(images, LABELS, ("a", "b", "c"), (0, 1, 2))
    leak = observe(update, Victim(module), batch, ThreatModel(), Mirrored(), 5, MEAN, STD)
    assert leak.labels.tolist() == LABELS.tolist()


def test_a_defense_on_the_network_is_known_to_the_server(module: nn.Module, images: Tensor) -> None:
    defended = Masking().on_model(module)
    update = client_update(defended, images, LABELS, bn_mode="eval", defense=Masking(), seed=0)
    self_check(update, Victim(defended))
    blue = images.clone()
    blue[:, 2] += 1
    again = client_update(defended, blue, LABELS, bn_mode="eval", defense=Masking(), seed=0)
    assert all(torch.equal(value, again.sent[name]) for name, value in update.sent.items())


def test_a_defense_on_the_network_must_say_so() -> None:
    with pytest.raises(TypeError, match="declare `changes_model = True`"):
        type("Silent", (Defense,), {"on_model": lambda self, module: module})


@pytest.mark.parametrize(
    ("defense", "transform"), [("clipping[max_norm=2]", "clipped[max_norm=2.0]"), ("pruning", "masked"), ("none", "")]
)
def test_only_an_adaptive_attacker_is_told_the_transform(
    module: nn.Module, images: Tensor, defense: str, transform: str
) -> None:
    update, batch = updated(module, images, defense=defense), Batch(images, LABELS, ("a", "b", "c"), (0, 1, 2))
    for adaptive in (True, False):
        threat_model = ThreatModel(adaptive=adaptive)
        leak = observe(update, Victim(module), batch, threat_model, create_defense(defense), 5, MEAN, STD)
        assert leak.transform == (transform if adaptive else "")


def test_denormalise_undoes_normalise() -> None:
    pixels = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(denormalise(normalise(pixels, MEAN, STD), MEAN, STD), pixels, rtol=0, atol=1e-6)
    expected = (pixels.numpy() - np.reshape(MEAN, (1, 3, 1, 1))) / np.reshape(STD, (1, 3, 1, 1))
    np.testing.assert_allclose(normalise(pixels, MEAN, STD).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_denormalise_clamps_and_greys_what_is_not_finite() -> None:
    values = torch.tensor([-100.0, 100.0, torch.nan, torch.inf, -torch.inf]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert denormalise(values, MEAN, STD)[0, 0, 0].tolist() == [0.0, 1.0, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("zero_init_last", [True, False])
def test_a_zeroed_last_normalisation_silences_most_of_a_residual_network(zero_init_last: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = timm.create_model("test_resnet", num_classes=5, zero_init_last=zero_init_last).eval()
    update = updated(module, torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    zeros = [value.numel() for value in update.undefended.values() if float(value.abs().max()) == 0]
    share = zero_gradient_share(update.undefended.values())
    assert share == pytest.approx(sum(zeros) / sum(p.numel() for p in module.parameters()))
    assert share > 0.3 if zero_init_last else share < 0.05


def test_cosine_and_error_say_what_a_defense_leaves_of_the_update(module: nn.Module, images: Tensor) -> None:
    plain_update = update_difference(updated(module, images))
    assert plain_update.cosine == pytest.approx(1)
    assert plain_update.relative_error == 0
    defended = updated(module, images, defense="gaussian_noise[sigma=0.05]")
    sent, plain = (
        np.concatenate([side[name].numpy().ravel() for name in defended.undefended])
        for side in (defended.sent, defended.undefended)
    )
    expected = sent @ plain / np.linalg.norm(sent) / np.linalg.norm(plain)
    assert update_difference(defended).cosine == pytest.approx(expected)
    assert update_difference(defended).relative_error == pytest.approx(
        np.linalg.norm(sent - plain) / np.linalg.norm(plain), rel=1e-5
    )
    assert 0 < expected < 0.999
    assert update_difference(updated(module, images, defense="clipping[max_norm=0.001]")).cosine == pytest.approx(1)
