"""The code of a granted decoder in the place of pixels: what it stands for, what it finds and what it cannot."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from gradinv.attacks.gradient_matching.descent import Descent
from gradinv.attacks.gradient_matching.parametrisations import Decoded
from gradinv.attacks.inverting_gradients import InvertingGradients
from gradinv.attacks.leak import Leak, ThreatModel, decoded, encoded, fresh_autoencoder, reencoded
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import Victim
from gradinv.metrics.registry import RequestError

GRANTED = ThreatModel(auxiliary_images="train", bn_statistics="none")


def scales(leak: Leak, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean and std of a leak, (C, 1, 1) each."""
    mean, std = (torch.tensor(values, dtype=dtype).view(-1, 1, 1) for values in (leak.mean, leak.std))
    return mean, std


def granted(leak: Leak) -> Leak:
    """The leak with an autoencoder, of random weights."""
    return replace(leak, autoencoder=fresh_autoencoder(3, seed=0, width=8, code=4))


@pytest.mark.parametrize("size", [6, 9])
def test_it_starts_at_what_the_autoencoder_leaves_of_the_drawn_images(
    case: Callable, make_images: Callable, size: int
) -> None:
    leak = replace(granted(case()[0]), image_shape=(3, size, size))
    images = make_images(2, size=size, seed=4)
    way = Decoded()
    begun = [part[None] for part in way.start(images, leak, torch.Generator())]
    mean, std = scales(leak, images.dtype)
    expected = (reencoded(leak.autoencoder or {}, images * std + mean) - mean) / std
    torch.testing.assert_close(way.images([*begun, torch.zeros(1, 2, 5)]), expected[None])  # logits are left alone


def test_its_gradient_is_that_of_finite_differences(case: Callable, make_images: Callable) -> None:
    code, *fixed = Decoded().start(make_images(1, dtype=torch.float64), granted(case()[0]), torch.Generator())
    parts = [part[None] for part in fixed]
    assert torch.autograd.gradcheck(lambda given: Decoded().images([given, *parts]), code[None].requires_grad_(True))


def test_the_code_moves_and_the_decoder_does_not(case: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Descent] = []
    descend = Descent.descend
    monkeypatch.setattr(Descent, "descend", lambda self, *rest: (made.append(self), descend(self, *rest))[1])
    leak, victim = case()
    attack = InvertingGradients(decoder=True)
    result = attack.reconstruct(granted(leak), victim, seed=2, budget=5)
    start, end = attack.start(granted(leak), victim, 2), [tensor[0] for tensor in made[0].variables.tensors]
    moved = [not torch.equal(before, after) for before, after in zip(start, end, strict=True)]
    assert moved == [True] + [False] * 8
    assert result.uses == ("gradient", "labels", "auxiliary_images")


@pytest.mark.parametrize(
    "key", ["inverting_gradients[decoder=true]", "gradinversion.lazy_group[agents=2,decoder=true]"]
)
def test_company_changes_no_bit(key: str, case: Callable) -> None:
    leak, victim = case(statistics="exact")
    other = replace(leak, gradients={name: -value for name, value in leak.gradients.items()})
    attack = create_attack(key)
    alone = attack.reconstruct(granted(leak), victim, seed=3, budget=12)
    _, beside = attack.reconstruct_together([granted(other), granted(leak)], victim, seeds=[4, 3], budget=12)
    assert torch.equal(alone.images, beside.images)
    assert alone.curve == beside.curve


def test_without_an_autoencoder_and_beside_a_pyramid_it_is_refused(case: Callable) -> None:
    leak, victim = case()
    with pytest.raises(ValueError, match="needs an autoencoder, and the leak has none"):
        InvertingGradients(decoder=True).reconstruct(leak, victim, seed=0, budget=3)
    with pytest.raises(RequestError, match="levels=4 and decoder=true both stand for the images"):
        create_attack("inverting_gradients.pyramid[decoder=true]")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_recovers_what_the_decoder_can_make_and_not_from_another_gradient(
    build: Callable, case: Callable, make_leak: Callable, dtype: torch.dtype
) -> None:
    net = build("lenet_dlg", size=16).to(dtype)
    taught = {name: value.to(dtype) for name, value in fresh_autoencoder(3, seed=0, width=8, code=4).items()}
    drawn = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=dtype)
    pixels = decoded(taught, 2 * encoded(taught, drawn), (16, 16)).detach()
    labels, (mean, std) = torch.tensor([3]), scales(case()[0], dtype)

    def error(of: int) -> float:
        """Root mean squared error of the first image's pixels, by the gradient of the first or of the other."""
        leak = make_leak(net, (pixels[of : of + 1] - mean) / std, labels)
        leak = replace(leak, autoencoder=taught, threat_model=GRANTED)
        attack = create_attack("inverting_gradients[alpha_tv=0.0,decoder=true]")
        images = attack.reconstruct(leak, Victim(net), seed=0, budget=200).images
        return float((images * std + mean - pixels[:1]).square().mean().sqrt())

    assert error(0) < 0.01
    assert error(1) > 0.1
