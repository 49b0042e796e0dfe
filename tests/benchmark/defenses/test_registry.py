"""What holds for every defense: it does something, keeps shapes, repeats under its seed, is neutral where it says."""

import inspect
from typing import get_type_hints

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.transforms import create_transform
from gradinv.attacks.victim import Victim
from gradinv.benchmark.defenses import DEFENSES, Defense, canonical_defense, create_defense, defense_keys
from gradinv.benchmark.experiment.client import ClientUpdate, client_update, self_check
from gradinv.metrics.keys import bracketed

NAMES = DEFENSES.names()
DEFENDING = [name for name in NAMES if name != "none"]
SAYS_WHY_NOT = {"secure_aggregation": "the mean over equal clients is the mean over their images"}
"""Defenses that send the update of the batch as it is, because what protects it is the company it is in."""


class Net(nn.Module):
    """A small convolution with a classifier; no batch norm, so that every defense is possible."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.Sigmoid(), nn.Flatten())
        self.fc = nn.Linear(12 * 64, 5)

    def get_classifier(self) -> nn.Module:
        return self.fc

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x))


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    network = Net()
    network.fc.weight.data *= 20  # so that the update is longer than what the weakest clipping lets pass
    return network


@pytest.fixture
def images() -> Tensor:
    return torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1))


LABELS = torch.tensor([0, 3, 1, 4, 2, 2, 0, 1])


def defended(key: str, module: nn.Module, images: Tensor, seed: int = 0) -> ClientUpdate:
    defense = create_defense(key)
    return client_update(defense.on_model(module), images, LABELS, bn_mode="eval", defense=defense, seed=seed)


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: value.detach().numpy().tobytes() for name, value in tensors.items()}


@pytest.mark.parametrize("name", NAMES)
def test_the_paper_is_cited_and_the_class_has_words(name: str) -> None:
    entry = DEFENSES.get(name)
    paper = entry.metadata["paper"]
    assert issubclass(entry.target, Defense)
    assert entry.target.__doc__
    if name != "none":
        assert all([paper.title, paper.authors, paper.venue, paper.url.startswith("https://")])
        assert 2010 <= paper.year <= 2035


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_typed_keyword_only_and_printed(name: str) -> None:
    target = DEFENSES.get(name).target
    function = target.__init__
    names = [p for p in inspect.signature(function).parameters.values() if p.name not in ("self", "args", "kwargs")]
    hints = get_type_hints(function) if names else {}
    assert all(p.kind is p.KEYWORD_ONLY and p.name in hints and p.default is not p.empty for p in names)
    assert repr(create_defense(name)) == target.__name__ + bracketed({p.name: p.default for p in names})


@pytest.mark.parametrize("name", DEFENDING)
def test_it_declares_where_it_acts_what_can_be_known_and_what_it_costs(name: str) -> None:
    target = DEFENSES.get(name).target
    assert target.acts
    assert {*target.acts} <= {"data", "model", "update", "per example"}
    assert target.knowable
    assert target.cost
    assert len({*map(canonical_defense, target.grid)}) == 3
    assert all(defense_keys(key)[0].name == name for key in target.grid)
    assert bool(target.neutral) != bool(target.never_neutral)
    for key in target.grid:
        chosen = create_defense(key)
        # One who knows it does something, or it is said why not.
        assert chosen.known() or chosen.unanswered
        if chosen.known():
            create_transform(chosen.known())


@pytest.mark.parametrize("key", [key for name in DEFENDING for key in DEFENSES.get(name).target.grid])
def test_every_standard_setting_changes_the_update_or_says_why_not(key: str, module: nn.Module, images: Tensor) -> None:
    update = defended(key, module, images)
    parameters = dict(create_defense(key).on_model(module).named_parameters())
    assert [(n, v.shape, v.dtype) for n, v in update.sent.items()] == [
        (n, v.shape, v.dtype) for n, v in parameters.items()
    ]
    assert all(value.isfinite().all() for value in update.sent.values())
    if key.split("[")[0] not in SAYS_WHY_NOT:
        plain = defended("none", module, images).sent
        assert not same(update.sent, plain)
        assert not all(torch.allclose(update.sent[n], plain[n], rtol=1e-4) for n in plain if n in update.sent) or (
            update.sent.keys() != plain.keys()
        )


@pytest.mark.parametrize("name", [n for n in DEFENDING if "update" in DEFENSES.get(n).target.acts])
def test_zeros_are_filled_unless_it_says_that_it_keeps_them(name: str, module: nn.Module, images: Tensor) -> None:
    target = DEFENSES.get(name).target
    if target.computes_update:  # stands first: no zeros of another's come to it
        return
    pruned = defended("pruning[ratio=0.9]", module, images).sent
    sent = defended(f"pruning[ratio=0.9]+{target.grid[-1]}", module, images).sent
    filled = any(bool(sent[name][value == 0].any()) for name, value in pruned.items())
    assert filled != target.keeps_zeros


@pytest.mark.parametrize("name", DEFENDING)
def test_equal_seeds_send_equal_bits_and_others_only_where_it_randomises(
    name: str, module: nn.Module, images: Tensor
) -> None:
    key = DEFENSES.get(name).target.grid[1]
    first, again = (defended(key, module, images, seed=3).sent for _ in range(2))
    assert same(first, again)
    others = [defended(key, module, images, seed=seed).sent for seed in range(4, 12)]
    assert any(not same(first, other) for other in others) == DEFENSES.get(name).target.randomises


@pytest.mark.parametrize("name", DEFENDING)
def test_the_global_generator_is_neither_read_nor_moved(name: str, module: nn.Module, images: Tensor) -> None:
    key = DEFENSES.get(name).target.grid[1]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = defended(key, module, images).sent
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(first, defended(key, module, images).sent)


@pytest.mark.parametrize("name", DEFENDING)
def test_network_batch_and_update_are_left_as_they_were(name: str, module: nn.Module, images: Tensor) -> None:
    state, seen, labels = bits(module.state_dict()), images.clone(), LABELS.clone()
    for key in DEFENSES.get(name).target.grid:
        update = defended(key, module, images)
        # The computed update is what the self-check compares with: a defense that edits it in place is found by it.
        self_check(update, Victim(create_defense(key).on_model(module)))
    assert bits(module.state_dict()) == state
    assert torch.equal(images, seen)
    assert torch.equal(LABELS, labels)
    assert not module.training or all(part.training for part in module.modules())


@pytest.mark.parametrize("name", NAMES)
def test_the_neutral_parameter_keeps_every_bit(name: str, module: nn.Module, images: Tensor) -> None:
    target = DEFENSES.get(name).target
    # Said in words, or shown.
    assert bool(target.neutral) != bool(target.never_neutral)
    if target.neutral:
        assert same(defended(target.neutral, module, images).sent, defended("none", module, images).sent)


@pytest.mark.parametrize("name", DEFENDING)
def test_a_sent_update_has_a_size(name: str, module: nn.Module, images: Tensor) -> None:
    defense, update = create_defense(name), defended(name, module, images)
    dense = sum(4 * value.numel() for value in update.sent.values())
    assert 0 < defense.upload_bytes(update.sent) <= dense
