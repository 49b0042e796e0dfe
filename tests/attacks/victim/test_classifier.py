"""The classifier is the layer whose output is the logits, whatever stands last, or there is none."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradinv.attacks.victim import NoClassifierError, Victim, find_classifier

IMAGES = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Features and a head of four classes, beside layers that look like one."""

    def __init__(self, way: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.way = way
        self.head = nn.Conv2d(6, 4, 1) if way == "convolution" else nn.Linear(6, 4)
        self.features, self.decoy = nn.Linear(48, 6), nn.Linear(6, 4)
        self.last = nn.Linear(4, 4)
        self.hidden = nn.Linear(6, 6)
        if way == "zero":
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)
        if way == "tied":
            self.features, self.head, self.hidden = nn.Linear(48, 4), nn.Linear(4, 4), nn.Linear(4, 4)
            self.head.weight = self.hidden.weight
        if way == "frozen":
            self.head.requires_grad_(False)

    def get_classifier(self) -> nn.Module:
        return self.decoy  # a lie, which nobody asks for

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x.flatten(1)).sigmoid()
        if self.way == "convolution":
            return self.head(features[:, :, None, None]).flatten(1)
        if self.way == "tied":
            return self.head(self.hidden(features).sigmoid())
        logits = self.head(features)
        ways: dict[str, Callable[[], Tensor]] = {
            "scaled": lambda: 2 * logits,
            "scaled in place": lambda: logits.mul_(2),
            "probabilities": lambda: logits.log_softmax(1),
            "two heads": lambda: (logits + self.decoy(features)) / 2,
            "zero": lambda: logits + 0 * self.decoy(features).sum(),
            "twice": lambda: self.head(features),
            "tokens": lambda: self.head(features[:, None].expand(-1, 3, -1)).mean(1),
            "functional": lambda: nn.functional.linear(features, self.decoy.weight),
            "dropout": lambda: nn.functional.dropout(logits, 0.5, self.training),
            "hidden behind": lambda: self.last(logits),
        }
        return ways.get(self.way, lambda: logits)()


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ("plain", "head.weight"),
        ("convolution", "head.weight"),
        ("dropout", "head.weight"),
        ("zero", "head.weight"),
        ("hidden behind", "last.weight"),
    ],
)
def test_the_layer_that_makes_the_logits_is_found(way: str, name: str) -> None:
    network = Net(way).eval()
    assert find_classifier(network, IMAGES) == name
    assert Victim(network).classifier_weight((3, 4, 4)) == name
    assert not any(module._forward_hooks for module in network.modules())


REFUSED = ("scaled", "scaled in place", "probabilities", "two heads", "tokens", "functional", "twice", "tied", "frozen")


@pytest.mark.parametrize("way", REFUSED)
def test_a_layer_that_does_not_is_refused_in_one_line(way: str) -> None:
    line = {
        "twice": "called more than once or shares its weight",
        "tied": "called more than once or shares its weight",
        "frozen": r"head\.weight is frozen and not sent",
    }.get(way, "are not the output of one linear layer with a row a class")
    with pytest.raises(NoClassifierError, match=line) as caught:
        Victim(Net(way)).classifier_weight((3, 4, 4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "name"),
    [("test_resnet", "fc.weight"), ("lenet_dlg", "fc.weight"), ("test_vit", "head.weight")],
)
def test_timm_networks(build: Callable, model: str, name: str) -> None:
    assert Victim(build(model, size=32)).classifier_weight((3, 32, 32)) == name


@pytest.mark.parametrize("bn_mode", ["eval", "train"])
def test_the_registration_order_decides_nothing(make_net: Callable, bn_mode: str) -> None:
    assert Victim(make_net(), bn_mode=bn_mode).classifier_weight((3, 6, 6)) == "head.weight"
