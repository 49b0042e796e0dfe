"""Other weights for a pass: ties and shared modules get them too, and the network is left as it was."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.victim import Victim, call_with

IMAGES = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def network(sharing: str) -> nn.Module:
    torch.manual_seed(0)
    first, second = nn.Linear(12, 12), nn.Linear(12, 12)
    if sharing == "a module":
        second = first
    elif sharing == "a tensor":
        second.weight = first.weight
    return nn.Sequential(nn.Flatten(), first, nn.Sigmoid(), second, nn.BatchNorm1d(12)).eval()


@pytest.mark.parametrize("sharing", ["nothing", "a tensor", "a module"])
@pytest.mark.parametrize("calls", [1, 2])
def test_substitutes_are_used_everywhere_and_for_one_pass_only(sharing: str, calls: int) -> None:
    module, changed = network(sharing), network(sharing)
    with torch.no_grad():
        for parameter in changed.parameters():
            parameter.add_(1)
    before, own = module(IMAGES), dict(module.named_parameters())
    for _ in range(calls):
        other = {name: value.detach() + 1 for name, value in module.named_parameters()}
        torch.testing.assert_close(call_with(module, other, IMAGES), changed(IMAGES))
    assert torch.equal(module(IMAGES), before)
    assert all(value is own[name] for name, value in module.named_parameters())


@pytest.mark.parametrize("sharing", ["a tensor", "a module"])
def test_an_update_counts_every_place_of_a_shared_weight(sharing: str, make_images: Callable[..., Tensor]) -> None:
    module, labels = network(sharing), torch.tensor([1, 0])
    nn.functional.cross_entropy(module(IMAGES), labels).backward()
    victim = Victim(module)
    expected = {name: parameter.grad for name, parameter in module.named_parameters()}
    functional, _ = victim.functional_update(IMAGES, labels, victim.state, {})
    for values in (victim.update(IMAGES, labels), functional):
        for name, value in zip(victim.parameter_names, values, strict=True):
            torch.testing.assert_close(value, expected[name])
    assert torch.equal(victim.module(IMAGES), module(IMAGES))
