"""DP-SGD: per-example gradients against a loop, clipping, noise, what it refuses, and its guarantee."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from gradinv.attacks.victim import trained_parameters
from gradinv.benchmark.defenses import ClientStep, UndefendableError, create_defense
from gradinv.benchmark.defenses.dp_sgd import example_gradients
from gradinv.benchmark.experiment.privacy import dp_guarantee
from gradinv.benchmark.victims.networks import build_network
from gradinv.metrics.registry import InvalidEntryError

MODELS = [
    "lenet_dlg",
    "resnet18",
    "mobilenetv3_small_050",
    "mobilenetv2_050",
    "tf_efficientnet_lite0",
    "regnetx_002",
    "ghostnet_050",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
    "mixer_s32_224",
]


def gradient(module: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    parameters = trained_parameters(module)
    loss = nn.functional.cross_entropy(module(images), labels)
    values = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    return dict(zip(parameters, values, strict=True))


def step_of(module: nn.Module, images: Tensor, labels: Tensor, bn_mode: str = "eval") -> ClientStep:
    return ClientStep(module, images, labels, bn_mode, "gradient", lambda *batch: gradient(module, *batch))


def small() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 5))
    return module, torch.randn(11, 3, 8, 8), torch.arange(11) % 5


@pytest.mark.parametrize("name", MODELS)
def test_example_gradients_are_those_of_a_loop(name: str) -> None:
    torch.manual_seed(0)
    module = build_network(name, num_classes=7, image_size=32, seed=0).eval()
    images, labels = torch.randn(2, 3, 32, 32), torch.tensor([1, 5])
    examples = example_gradients(module, images, labels)
    for index in range(2):
        alone = gradient(module, images[index : index + 1], labels[index : index + 1])
        length = torch.stack([value.norm() for value in alone.values()]).norm()
        apart = torch.stack([(examples[n][index] - value).norm() for n, value in alone.items()]).norm()
        assert apart < 1e-4 * length
        assert length > 0


def test_one_of_these_models_has_timm_s_own_batch_norm() -> None:
    module = build_network("mobilenetv3_small_050", num_classes=7, image_size=32, seed=0)
    assert any(isinstance(layer, BatchNormAct2d) for layer in module.modules())


@pytest.mark.parametrize("bound", [0.01, 1.0, 1e6])
def test_each_example_is_clipped_by_itself(bound: float) -> None:
    module, images, labels = small()
    step = step_of(module, images, labels)
    defense = create_defense(f"dp_sgd[max_norm={bound},sigma=0]")
    sent = defense.on_step(gradient(module, images, labels), step, torch.Generator())
    expected = {name: np.zeros(value.shape) for name, value in sent.items()}
    for index in range(len(images)):
        alone = gradient(module, images[index : index + 1], labels[index : index + 1])
        length = np.sqrt(sum((value.double().numpy() ** 2).sum() for value in alone.values()))
        for name, value in alone.items():
            expected[name] += value.double().numpy() * min(1, bound / length) / len(images)
    for name, value in expected.items():
        np.testing.assert_allclose(sent[name].numpy(), value, rtol=1e-4, atol=1e-6 * bound)


def test_noise_has_the_deviation_of_the_algorithm() -> None:
    module, images, labels = small()
    step, update = step_of(module, images, labels), gradient(module, images, labels)
    clean = create_defense("dp_sgd[max_norm=0.5,sigma=0]").on_step(update, step, torch.Generator())
    noisy = [
        create_defense("dp_sgd[max_norm=0.5,sigma=2]").on_step(update, step, torch.Generator().manual_seed(seed))
        for seed in range(4)
    ]
    noise = torch.cat([(sent[name] - clean[name]).flatten() for sent in noisy for name in clean])
    assert noise.std().item() == pytest.approx(2 * 0.5 / 11, rel=4 / math.sqrt(2 * len(noise)))


def test_batch_norm_in_train_mode_is_refused_and_in_eval_mode_taken() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 5)).eval()
    images, labels = torch.randn(3, 3, 8, 8), torch.tensor([0, 1, 2])
    update, defense = gradient(module, images, labels), create_defense("dp_sgd")
    with pytest.raises(UndefendableError, match="mixes the examples"):
        defense.on_step(update, step_of(module, images, labels, "train"), torch.Generator())
    sent = defense.on_step(update, step_of(module, images, labels), torch.Generator().manual_seed(0))
    assert sent.keys() == update.keys()


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InvalidEntryError, match="asks for sigma=0"):
        create_defense("dp_sgd[max_norm=inf,sigma=1]")
    with pytest.raises(InvalidEntryError, match="write dp_sgd first"):
        create_defense("clipping+dp_sgd")
    assert create_defense("dp_sgd+quantization").acts == ("per example", "update")


def test_epsilon_is_that_of_the_definition_and_of_a_published_setting() -> None:
    sigma, rate, rounds, delta = 4.0, 0.01, 10_000, 1e-5
    epsilons = []
    for order in range(2, 40):
        # Mironov et al. 2019: E over N(0, sigma^2) of (1 - q + q exp((2 z - 1) / (2 sigma^2)))^order.
        def term(z: float, order: int = order) -> float:
            density = math.exp(-(z**2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
            return density * (1 - rate + rate * math.exp((2 * z - 1) / (2 * sigma**2))) ** order

        moment, _ = integrate.quad(term, -60, 60 + order, limit=500, epsabs=1e-14)
        divergence = rounds * math.log(moment) / (order - 1)
        epsilons.append(divergence + math.log1p(-1 / order) - (math.log(delta) + math.log(order)) / (order - 1))
    guarantee = dp_guarantee(sigma=sigma, sampling_rate=rate, rounds=rounds, delta=delta)
    assert guarantee.epsilon == pytest.approx(min(epsilons), rel=0.01)
    # Abadi et al. 2016, section 3.2: 1.26 by the moments accountant, whose conversion is looser.
    assert 0.8 < guarantee.epsilon < 1.26
    for word in ("delta 1e-05", "multiplier 4", "rate 0.01", "10000 rounds", "Opacus"):
        assert word in str(guarantee)


def test_without_noise_there_is_no_epsilon() -> None:
    with pytest.raises(ValueError, match="guarantees nothing"):
        dp_guarantee(sigma=0, sampling_rate=0.1, rounds=10, delta=1e-5)
