"""Variants of gradient matching through its public hooks: where it starts, what variables stand for, where they go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from gradinv.attacks.gradient_matching import (
    LBFGS,
    Adam,
    Engine,
    GradientMatching,
    GroupConsistency,
    LabelPolicy,
    SquaredL2,
    step_decay,
)
from gradinv.attacks.gradient_matching.descent import Descent
from gradinv.attacks.leak import Leak
from gradinv.attacks.victim import Victim

CODE, PIXELS = 6, 3 * 6 * 6


def generator_matrix() -> Tensor:
    """What the fixed linear generator multiplies a code (6,) with: 108 pixel values for each entry."""
    return torch.randn(CODE, PIXELS, generator=torch.Generator().manual_seed(77))


class LatentMatching(GradientMatching):
    """Gradient matching over the latent codes of a fixed linear generator: what a plug-in file would hold."""

    def start(self, leak: Leak, victim: Victim, seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        codes = torch.randn(leak.batch_size, CODE, generator=generator)
        logits = torch.randn(leak.batch_size, leak.num_classes, generator=generator)
        return [codes, logits] if self.labels.joint else [codes]

    def images(self, variables: Sequence[Tensor]) -> Tensor:
        return torch.stack([(codes @ generator_matrix()).view(-1, 3, 6, 6) for codes in variables[0]])

    def project(self, variables: Sequence[Tensor], leak: Leak) -> None:
        """A code may be anywhere."""


def latent(optimizer: Adam | LBFGS | None = None, **settings: object) -> LatentMatching:
    options = {"distance": SquaredL2(), "optimizer": optimizer or LBFGS(0.5), "iterations": 1}
    return LatentMatching(**(options | settings))


@dataclass(frozen=True)
class Latent:
    """Two private images that the generator can make, what leaks of them, and the victim."""

    images: Tensor
    leak: Leak
    victim: Victim


@pytest.fixture
def within_range(make_net: Callable, make_leak: Callable) -> Latent:
    """A batch in the range of the generator."""
    codes = torch.randn(2, CODE, generator=torch.Generator().manual_seed(5))
    images = (codes @ generator_matrix()).view(2, 3, 6, 6)
    net = make_net(bn=False)
    return Latent(images, make_leak(net, images, torch.tensor([3, 1])), Victim(net))


def noisy(leak: Leak) -> Leak:
    """The control: Gaussian noise of each tensor's own norm in the gradient's place."""
    generator = torch.Generator().manual_seed(1)
    drawn = {name: torch.randn(value.shape, generator=generator) for name, value in leak.gradients.items()}
    return replace(leak, gradients={n: v * leak.gradients[n].norm() / v.norm() for n, v in drawn.items()})


def relative_error(images: Tensor, originals: Tensor) -> float:
    return float((images - originals).norm() / originals.norm())


def test_a_latent_code_recovers_images_in_its_generators_range_and_noise_does_not(within_range: Latent) -> None:
    attack = latent(restarts=4, tolerance=1e-9)
    reconstruction = attack.reconstruct(within_range.leak, within_range.victim, seed=0, budget=4 * 250)
    assert relative_error(reconstruction.images, within_range.images) < 0.02
    assert reconstruction.images.shape == reconstruction.final.shape == within_range.leak.shape
    assert all(snapshot.shape == within_range.leak.shape for snapshot in reconstruction.snapshots)
    control = attack.reconstruct(noisy(within_range.leak), within_range.victim, seed=0, budget=4 * 250)
    assert relative_error(control.images, within_range.images) > 0.5


def test_every_iterate_is_in_the_generators_range(within_range: Latent, evaluated: list) -> None:
    reconstruction = latent().reconstruct(within_range.leak, within_range.victim, seed=0, budget=20)
    for images in [call.images for call in evaluated] + [reconstruction.images, *reconstruction.snapshots]:
        rows = images.reshape(2, PIXELS)
        codes = torch.linalg.lstsq(generator_matrix().T, rows.T).solution.T
        torch.testing.assert_close(codes @ generator_matrix(), rows, rtol=1e-3, atol=1e-3)


def test_the_gradient_of_the_code_is_the_slope_of_the_objective(within_range: Latent, evaluated: list) -> None:
    """One plain step down from the start is the start minus the gradient, by the chain rule by hand."""

    @dataclass(frozen=True)
    class PlainDescent:
        def start(self, variables: list[Tensor], evaluations: int, seeds: Sequence[int]) -> "PlainDescent":
            moved.append(variables)
            return self

        def update(self, values: Tensor, gradients: Sequence[Tensor | None], moving: Tensor | None) -> None:
            slopes.append(gradients[0])

    moved: list[list[Tensor]] = []
    slopes: list[Tensor] = []
    attack = latent(PlainDescent())
    attack.reconstruct(within_range.leak, within_range.victim, seed=3, budget=1)
    codes = attack.start(within_range.leak, within_range.victim, 3)[0].requires_grad_(True)
    update = within_range.victim.update((codes @ generator_matrix()).view(2, 3, 6, 6), within_range.leak.labels)
    pairs = zip(update, within_range.leak.gradients.values(), strict=True)
    (expected,) = torch.autograd.grad(sum((sent - seen).square().sum() for sent, seen in pairs), codes)
    torch.testing.assert_close(slopes[0][0], expected, rtol=1e-4, atol=1e-4)


def test_optimised_labels_come_last_whatever_stands_for_the_images(within_range: Latent) -> None:
    attack = latent(labels=LabelPolicy(joint=True), restarts=4)
    reconstruction = attack.reconstruct(within_range.leak, within_range.victim, seed=0, budget=4 * 250)
    assert reconstruction.label_method == "optimised"
    assert sorted(reconstruction.labels.tolist()) == [1, 3]


def test_codes_evaluated_together_go_where_each_goes_alone(within_range: Latent) -> None:
    attack, leaks = latent(Adam(0.05, step_decay(0.5))), [within_range.leak, noisy(within_range.leak)]
    in_turn = [attack.reconstruct(leak, within_range.victim, seed=seed, budget=30) for seed, leak in enumerate(leaks)]
    attack.engine = Engine(together=4)
    alone = [attack.reconstruct(leak, within_range.victim, seed=seed, budget=30) for seed, leak in enumerate(leaks)]
    packed = attack.reconstruct_together(leaks, within_range.victim, seeds=range(2), budget=30)
    for together, single, expected in zip(packed, alone, in_turn, strict=True):
        assert together.engine == "eager, 4 together"
        assert torch.equal(together.images, single.images)
        torch.testing.assert_close(together.images, expected.images, rtol=1e-3, atol=1e-3)


def test_a_coupling_draws_the_images_that_codes_stand_for(
    within_range: Latent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pull goes through the generator: agents that are held together end nearer to each other."""
    descents: list[Descent] = []
    descend = Descent.descend
    monkeypatch.setattr(Descent, "descend", lambda self, *rest: (descents.append(self), descend(self, *rest))[1])
    for weight in (0.0, 1e4):
        coupling = GroupConsistency(agents=3, weight=weight, consensus="lazy", start=0.2, every=0.05)
        attack = latent(Adam(0.1, step_decay(0.9)), coupling=coupling)
        attack.reconstruct(within_range.leak, within_range.victim, seed=0, budget=300)
    free, held = (descent.variables.images(descent.variables.tensors).std(dim=0).mean() for descent in descents)
    assert held < 0.2 * free


def test_an_own_start_and_projection_are_used_at_every_step(case: Callable, evaluated: list) -> None:
    class Halved(GradientMatching):
        """Starts at ones; after every step the values are halved."""

        def start(self, leak: Leak, victim: Victim, seed: int) -> list[Tensor]:
            return [torch.ones(leak.shape)]

        def project(self, variables: Sequence[Tensor], leak: Leak) -> None:
            variables[0].div_(2)

    leak, victim = case()
    flat = replace(leak, gradients={name: torch.zeros_like(value) for name, value in leak.gradients.items()})
    attack = Halved(distance=SquaredL2(), optimizer=Adam(1e-9, step_decay(0.5)), iterations=4)
    attack.reconstruct(flat, victim, seed=0)
    assert [call.images.mean().item() for call in evaluated] == pytest.approx([1, 0.5, 0.25, 0.125])


def test_hooks_that_are_not_overridden_change_no_bit(case: Callable) -> None:
    """Overridden by what they do anyway, but with a copy, so that the chain rule is gone through."""

    class Copied(GradientMatching):
        def images(self, variables: Sequence[Tensor]) -> Tensor:
            return variables[0].clone()

    results = []
    for kind in (GradientMatching, Copied):
        attack = kind(distance=SquaredL2(), optimizer=LBFGS(0.5), iterations=30, labels=LabelPolicy(joint=True))
        results.append(attack.reconstruct(*case(), seed=2))
    assert torch.equal(results[0].images, results[1].images)
    assert results[0].curve == results[1].curve
