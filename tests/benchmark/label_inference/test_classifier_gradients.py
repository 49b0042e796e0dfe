"""The classifier's gradient from one forward pass is the client's, or the network is refused in one line."""

import pytest
import torch
from torch import nn

from gradinv.attacks.label_rules import Classifier, Evidence, create_rule
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets.batches import draw_batch
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment.client import InconsistentExperimentError, client_update
from gradinv.benchmark.label_inference.classifier_gradients import (
    ClassifierError,
    check_against_client,
    classified,
    classifier_gradients,
    classifier_name,
    sends_bias,
)
from gradinv.benchmark.victims.loading import load_victim
from gradinv.benchmark.victims.networks import build_network
from gradinv.benchmark.victims.normalisation import normalise
from gradinv.benchmark.victims.spec import VictimSpec

SIZES = [1, 2, 4, 6]


def gradients_of(network, name, images, labels, sizes):
    """The gradients from one forward pass of the images."""
    return classifier_gradients(*classified(network, name, images), labels, sizes, has_bias=sends_bias(network, name))


@pytest.mark.parametrize("model", ["test_resnet", "lenet_dlg", "test_vit", "test_convnext", "test_efficientnet"])
def test_one_forward_pass_gives_the_clients_gradient_at_every_size(model):
    network = build_network(model, num_classes=10, image_size=64, seed=1, untrained=True).double()
    images = torch.randn(6, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([3, 1, 4, 0, 5, 9])
    name = classifier_name(network, (3, 64, 64))
    for size, gradient in gradients_of(network, name, images, labels, SIZES).items():
        none = create_defense("none")
        update = client_update(network, images[:size], labels[:size], bn_mode="eval", defense=none, seed=0)
        torch.testing.assert_close(gradient.weight, update.sent[name], rtol=1e-10, atol=1e-14)
        bias = update.sent.get(name.replace("weight", "bias"))
        torch.testing.assert_close(gradient.bias, bias, rtol=1e-10, atol=1e-14)


def test_in_single_precision_too(make_dataset):
    dataset = make_dataset(classes=6, size=32)
    loaded = load_victim(VictimSpec(model="test_resnet", state="untrained", seed=2), dataset)
    batch = draw_batch(dataset, repetition=0, batch_size=6)
    images, name = normalise(batch.images, loaded.mean, loaded.std), classifier_name(loaded.module, (3, 32, 32))
    for size, gradient in gradients_of(loaded.module, name, images, batch.labels, SIZES).items():
        none = create_defense("none")
        update = client_update(loaded.module, images[:size], batch.labels[:size], bn_mode="eval", defense=none, seed=0)
        assert float((gradient.weight - update.sent[name]).norm() / gradient.weight.norm()) < 1e-5


def test_a_case_where_the_min_rule_is_exact_and_the_sum_rule_is_not():
    """Each image has a feature of its own, so only its label has a negative entry there; a bright image's error at
    the dim image's class makes the sum of that class positive."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4, bias=False)).eval()
    network[1].weight.data.zero_()
    network[1].weight.data[0, 1] = 1.0
    images = torch.zeros(2, 3, 2, 2)
    images.view(2, 12)[0, 0], images.view(2, 12)[1, 1] = 0.1, 5.0
    labels = torch.tensor([0, 1])
    gradient = gradients_of(network, classifier_name(network, (3, 2, 2)), images, labels, [2])[2]
    assert gradient.bias is None
    evidence = Evidence(gradient.weight.double(), None, 2, Classifier(Victim(network), (3, 2, 2)))
    assert create_rule("min").estimate(evidence).nonzero().flatten().tolist() == [0, 1]
    assert create_rule("sum").estimate(evidence).nonzero().flatten().tolist() != [0, 1]


class Crooked(nn.Module):
    """A network whose logits are not its linear layer's output for features (B, F), in one of several ways."""

    def __init__(self, way):
        super().__init__()
        self.way, self.fc = way, nn.Linear(12, 4)

    def forward(self, x):
        x = x.flatten(1)
        if self.way == "tokens":
            return self.fc(x[:, None].expand(-1, 5, -1)).mean(1)
        if self.way == "scaled":
            return 2 * self.fc(x)
        if self.way == "functional":
            return nn.functional.linear(x, self.fc.weight, self.fc.bias)
        return self.fc(x) + 0 * self.fc(x)


@pytest.mark.parametrize("way", ["tokens", "scaled", "functional", "called twice"])
def test_a_classifier_that_does_not_make_the_logits_is_refused(way):
    network = Crooked(way).eval()
    with pytest.raises(ClassifierError, match=r"not the output of one linear layer|called more than once"):
        classifier_name(network, (3, 2, 2))
    with pytest.raises(ClassifierError, match="are not what its linear classifier makes of features"):
        gradients_of(network, "fc.weight", torch.randn(2, 3, 2, 2), torch.tensor([0, 1]), [2])


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten()), "is no linear layer"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12)), "not the output of one linear layer"),
    ],
)
def test_a_network_without_a_linear_classifier_is_refused(network, message):
    with pytest.raises(ClassifierError, match=message):
        classifier_name(network, (3, 2, 2))


def test_a_gradient_that_is_not_the_clients_stops_the_run():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).eval()
    images, labels = torch.randn(2, 3, 2, 2), torch.tensor([0, 1])
    gradients = gradients_of(network, "1.weight", images, labels, [1, 2])
    check_against_client(network, "1.weight", images, labels, gradients)
    for field, name in (("weight", "1.weight"), ("bias", "1.bias")):
        wrong = gradients[2]._replace(**{field: getattr(gradients[2], field) * 1.01})
        with pytest.raises(InconsistentExperimentError, match=f"the gradient of {name} .* at batch size 2"):
            check_against_client(network, "1.weight", images, labels, {**gradients, 2: wrong})
