"""Where candidates start: every attack takes an init by key, and draws it from its seed."""

import re
from collections.abc import Callable

import pytest
import torch

from gradinv.attacks.gradient_matching import INITS, GradientMatching, create_init
from gradinv.attacks.registry import ATTACKS, create_attack
from gradinv.metrics.registry import RequestError

MATCHING = [name for name in ATTACKS.names() if issubclass(ATTACKS.get(name).target, GradientMatching)]


def drawn(
    key: str, shape: tuple[int, int, int, int], seed: int = 3, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    return create_init(key).images(shape, torch.Generator().manual_seed(seed), dtype)


@pytest.mark.parametrize("key", [*INITS.names(), "patterned[size=7]"])
def test_an_init_has_the_shape_and_depends_on_the_seed_alone(key: str) -> None:
    images = drawn(key, (2, 3, 6, 10))
    assert images.shape == (2, 3, 6, 10)
    assert images.dtype == torch.float64
    assert torch.equal(images, drawn(key, (2, 3, 6, 10)))
    assert not torch.equal(images, drawn(key, (2, 3, 6, 10), seed=4))
    assert not torch.equal(images[0], images[1])


@pytest.mark.parametrize("size", [1, 3, 4])
def test_a_pattern_is_its_patch_at_every_place(size: int) -> None:
    images = drawn(f"patterned[size={size}]", (1, 2, 8, 9))
    patch = images[..., :size, :size]
    for row in range(8):
        for column in range(9):
            assert torch.equal(images[..., row, column], patch[..., row % size, column % size])
    assert len(images.unique()) == 2 * size**2


@pytest.mark.parametrize("name", [name for name in MATCHING if name not in ("dimitrov", "deep_image_prior")])
def test_every_attack_of_pixels_starts_where_its_key_says(case: Callable, evaluated: list, name: str) -> None:
    leak, victim = case()
    alone = ",agents=1" if name == "gradinversion" else ""
    preset = ".no_position" if name == "april_matching" else ""  # the network has none
    attack = create_attack(f"{name}{preset}[init=patterned[size=2]{alone}]")
    attack.reconstruct(leak, victim, seed=3, budget=1)
    expected = drawn("patterned[size=2]", leak.shape, dtype=torch.float32)
    if attack.parametrisation.box:
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (leak.mean, leak.std))
        expected = expected.clamp(-mean / std, (1 - mean) / std)
    torch.testing.assert_close(evaluated[0].images, expected)


@pytest.mark.parametrize(("key", "said"), [("pattern", "did you mean patterned"), ("patterned[size=0]", "size=0")])
def test_a_wrong_key_is_one_line(key: str, said: str) -> None:
    with pytest.raises(RequestError, match=re.escape(said)):
        create_attack(f"idlg[init={key}]")
