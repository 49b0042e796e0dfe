"""Rules of label inference against brute force, known answers, and the wrong implementations of public code."""

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies
from torch import Tensor, nn

from gradinv.attacks.label_rules import (
    BIAS,
    RULES,
    Auxiliary,
    Classifier,
    Evidence,
    LabelInferenceError,
    Rule,
    create_rule,
    largest_remainders,
    register_rule,
    rule_keys,
)
from gradinv.attacks.label_rules.rlu import simulated_logits, steps_shares
from gradinv.attacks.labels import infer_labels
from gradinv.attacks.leak import Leak, ThreatModel
from gradinv.attacks.update import create_update
from gradinv.attacks.victim import Victim
from gradinv.metrics.registry import InvalidEntryError, UnknownNameError

CLASSES, FIXED = 10, [1, 1, 3, 3, 7, 7, 7, 9]
SUMS = ("llg", "llg_plus", "llg_star[inputs=ones]", "llg_star[inputs=randn]", "geng", "zlg_plus", "sum", "min")
BIASES = ("bias_corrected", "ilrg", "rlu")


class Head(nn.Module):
    """Features by one activation, then a linear classifier; small, so that confidences are about even."""

    def __init__(self, activation: nn.Module, *, scale: float = 0.02, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(3 * 4 * 4, 24)
        self.activation = activation
        self.fc = nn.Linear(24, CLASSES, bias=bias)
        self.fc.weight.data.mul_(scale * 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.activation(self.body(x.flatten(1))))


class Oracle(Rule):
    """The true mean confidence: with it, the gradient of the bias gives the counts exactly."""

    assumptions = (BIAS,)

    def __init__(self, *, confidence: list[float]) -> None:
        self.confidence = torch.tensor(confidence, dtype=torch.float64)

    def estimate(self, evidence: Evidence) -> Tensor:
        return evidence.batch_size * (self.confidence - evidence.bias_gradients)


def images(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def evidence_of(network: nn.Module, labels: Sequence[int], seed: int = 0, *, auxiliary: bool = True) -> Evidence:
    """By autograd on the whole network, as a client sends it."""
    batch, truth = images(len(labels), seed), torch.tensor(labels)
    named = dict(network.named_parameters())
    gradients = torch.autograd.grad(nn.functional.cross_entropy(network(batch), truth), list(named.values()))
    sent = dict(zip(named, gradients, strict=True))
    classifier = Classifier(Victim(network), (3, 4, 4))
    public = Auxiliary(classifier.responses(images(200, 99)), torch.arange(200) % CLASSES, "noise")
    return Evidence(
        weight_gradient=sent["fc.weight"].double(),
        bias_gradient=sent["fc.bias"].double() if "fc.bias" in sent else None,
        batch_size=len(labels),
        classifier=classifier,
        max_equal_labels=len(labels),
        auxiliary=public if auxiliary else None,
    )


def trained(network: Head, steps: int = 60, classes: int = CLASSES) -> Head:
    """The same after some steps on noise images of the first classes: confident and far from even."""
    data, truth = images(100, 5), torch.arange(100) % classes
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(data), truth).backward()
        optimizer.step()
    return network


def true_confidence(network: nn.Module, count: int, seed: int) -> list[float]:
    with torch.no_grad():
        return network.double()(images(count, seed).double()).softmax(1).mean(0).tolist()


# Rounding: golden test of T4 and T9 (counts that do not sum to B, cut off before they are scaled).


@settings(deadline=None)
@given(strategies.lists(strategies.floats(-3, 50), min_size=2, max_size=30), strategies.integers(1, 200))
def test_counts_are_the_largest_remainders_and_sum_to_the_batch(estimate: list[float], total: int) -> None:
    clipped = np.clip(estimate, 0, None)
    if not clipped.sum() > 0:
        with pytest.raises(LabelInferenceError):
            largest_remainders(torch.tensor(estimate, dtype=torch.float64), total)
        return
    counts = largest_remainders(torch.tensor(estimate, dtype=torch.float64), total).numpy()
    shares = clipped / clipped.sum() * total
    assert counts.sum() == total
    # No class is a whole label away from its share, and none has less than another that asked for less.
    assert (np.abs(counts - shares) < 1 + 1e-6 * total).all()
    order = np.argsort(shares, kind="stable")
    assert (np.diff(counts[order]) >= -1).all()


@pytest.mark.parametrize(
    ("estimate", "total", "counts"),
    [
        ([0.9, 0.9, 0.9, 0.3], 3, [1, 1, 1, 0]),  # all cut off to 0 by int() in the RLU release
        ([2, 0, 3, 3], 8, [2, 0, 3, 3]),
        ([-5.0, 1.0, 1.0], 3, [0, 2, 1]),
        ([1e-9, 3e-9], 4, [1, 3]),
    ],
)
def test_counts_by_hand(estimate: list[float], total: int, counts: list[int]) -> None:
    assert largest_remainders(torch.tensor(estimate), total).tolist() == counts


@pytest.mark.parametrize("estimate", [[0.0, 0.0], [-1.0, -2.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_no_label_is_made_up(estimate: list[float]) -> None:
    with pytest.raises(LabelInferenceError, match="not finite, or none of them is above zero"):
        largest_remainders(torch.tensor(estimate), 4)


# Known answers.


@pytest.mark.parametrize("labels", [FIXED, [3, 3, 7, 7], [5] * 8, [0]])
@pytest.mark.parametrize("key", ["bias_corrected", "ilrg", "rlu"])
def test_repeated_labels_of_an_untrained_network_are_found_exactly(key: str, labels: list[int]) -> None:
    for seed in range(5):
        evidence = evidence_of(Head(nn.ReLU()), labels, seed)
        assert create_rule(key).labels(evidence).tolist() == sorted(labels)


@pytest.mark.parametrize("state", ["untrained", "trained"])
@pytest.mark.parametrize("labels", [FIXED, [5] * 8, list(range(10)) * 4, [2]])
def test_the_true_mean_confidence_gives_the_counts_of_any_network(state: str, labels: list[int]) -> None:
    network = Head(nn.LeakyReLU())
    network = (trained(network) if state == "trained" else network).double()
    for seed in range(3):
        batch, truth = images(len(labels), seed).double(), torch.tensor(labels)
        loss = nn.functional.cross_entropy(network(batch), truth)
        weight, bias = torch.autograd.grad(loss, [network.fc.weight, network.fc.bias])
        evidence = Evidence(weight, bias, len(labels), Classifier(Victim(network), (3, 4, 4)), len(labels))
        oracle = Oracle(confidence=true_confidence(network, len(labels), seed))
        torch.testing.assert_close(oracle.estimate(evidence), torch.bincount(truth, minlength=CLASSES).double())
        assert oracle.labels(evidence).tolist() == sorted(labels)


def test_a_trained_network_takes_the_counts_from_rules_that_assume_even_confidences() -> None:
    network = trained(Head(nn.ReLU()))
    found = [create_rule("bias_corrected").labels(evidence_of(network, FIXED, seed)).tolist() for seed in range(5)]
    assert any(labels != FIXED for labels in found)
    limits = create_rule("bias_corrected").limits(evidence_of(network, FIXED))
    assert len(limits) == 1
    assert "even confidences of an untrained network" in limits[0]
    assert create_rule("bias_corrected").limits(evidence_of(Head(nn.ReLU()), FIXED)) == ()


def recall(key: str, network: nn.Module, size: int, batches: int) -> float:
    """Mean share of random labels, with repetition, that the rule finds with their counts."""
    generator, found = torch.Generator().manual_seed(1), 0
    for seed in range(batches):
        labels = torch.randint(CLASSES, (size,), generator=generator)
        counts = create_rule(key).counts(evidence_of(network, labels.tolist(), seed))
        found += int(torch.minimum(counts, torch.bincount(labels, minlength=CLASSES)).sum())
    return found / (size * batches)


def test_large_batches_of_few_classes_separate_the_rules() -> None:
    """With every class present few scores are negative, and an impact estimated from them is too small."""
    network = Head(nn.ReLU())
    assert recall("bias_corrected", network, 32, 10) < 0.75
    assert recall("llg", network, 32, 10) < 0.75
    assert recall("ilrg", network, 32, 10) > 0.95
    assert recall("rlu", network, 32, 10) > 0.95
    assert recall("zlg_plus", network, 32, 10) > 0.85


def test_on_a_trained_network_auxiliary_images_help() -> None:
    network = trained(Head(nn.ReLU()), steps=15, classes=4)
    without = max(recall(key, network, 32, 10) for key in ("llg", "bias_corrected", "llg_star[inputs=ones]"))
    assert min(recall(key, network, 32, 10) for key in ("zlg_plus", "rlu")) > without + 0.2


@pytest.mark.parametrize("key", rule_keys())
@pytest.mark.parametrize("labels", [FIXED, [5] * 8, [1, 2, 3], list(range(10)), list(range(10)) * 3, [4]])
def test_every_rule_gives_as_many_labels_as_images_or_says_why_not(key: str, labels: list[int]) -> None:
    rule, evidence = create_rule(key), evidence_of(Head(nn.ReLU()), labels)
    impossible = len(labels) > 1 if key == "sign" else len(labels) > CLASSES and key in ("sum", "min")
    if impossible:
        with pytest.raises(LabelInferenceError, match=r"^[^\n]+$"):
            rule.labels(evidence)
        return
    found = rule.labels(evidence)
    assert found.shape == (len(labels),)
    assert found.dtype == torch.int64
    assert found.tolist() == found.sort().values.tolist()
    assert set(found.tolist()) <= set(range(CLASSES))


# Each rule against brute force.


def by_hand(scores: list[float], impact: float, size: int, offset: list[float]) -> list[int]:
    """LLG's Algorithm 1 with plain lists."""
    left, labels = list(scores), []
    for index in sorted(range(len(left)), key=lambda c: scores[c]):
        if scores[index] < 0 and len(labels) < size:
            labels.append(index)
            left[index] -= impact
    left = [value - shift for value, shift in zip(left, offset, strict=True)]
    while len(labels) < size:
        lowest = min(range(len(left)), key=lambda c: left[c])
        labels.append(lowest)
        left[lowest] -= impact  # of the class just chosen: the stale index of the breaching library gave 3, 3, 3, 7
    return sorted(labels)


@pytest.mark.parametrize("labels", [FIXED, [0, 0, 4], list(range(10)) * 2])
def test_llg_is_its_algorithm(labels: list[int]) -> None:
    evidence = evidence_of(Head(nn.ReLU()), labels)
    scores = [sum(row) for row in evidence.weight_gradient.tolist()]
    impact = sum(s for s in scores if s < 0) * (1 + 1 / CLASSES) / len(labels)
    assert create_rule("llg").labels(evidence).tolist() == by_hand(scores, impact, len(labels), [0.0] * CLASSES)
    bias = evidence.bias_gradients.tolist()
    impact = sum(s for s in bias if s < 0) / len(labels)
    assert create_rule("bias_corrected").labels(evidence).tolist() == by_hand(
        bias, impact, len(labels), [0.0] * CLASSES
    )


@pytest.mark.parametrize("inputs", ["zeros", "ones", "randn", "auxiliary"])
def test_simulated_impact_and_offset_are_those_of_batches_of_one_class(inputs: str) -> None:
    network = Head(nn.ReLU()).double()
    evidence = evidence_of(network.float(), FIXED)
    network = network.double()
    made = {
        "zeros": torch.zeros(1, 3, 4, 4),
        "ones": torch.ones(1, 3, 4, 4),
        "randn": torch.randn(32, 3, 4, 4, generator=torch.Generator().manual_seed(0)),
        "auxiliary": images(200, 99),
    }[inputs].double()
    scores = []
    for label in range(CLASSES):
        loss = nn.functional.cross_entropy(network(made), torch.full((len(made),), label))
        scores.append(torch.autograd.grad(loss, network.fc.weight)[0].sum(1).tolist())
    impact = (1 + 1 / CLASSES) / (CLASSES * len(FIXED)) * sum(scores[c][c] for c in range(CLASSES))
    offset = [sum(scores[c][j] for c in range(CLASSES) if c != j) / (CLASSES - 1) for j in range(CLASSES)]
    key = "llg_plus" if inputs == "auxiliary" else f"llg_star[inputs={inputs}]"
    expected = by_hand(evidence.sums.tolist(), impact, len(FIXED), offset)
    assert create_rule(key).labels(evidence).tolist() == expected


def test_ilrg_solves_its_equations() -> None:
    evidence = evidence_of(Head(nn.ReLU()), FIXED)
    gradient, weight = evidence.bias_gradients.numpy(), evidence.classifier.weight.numpy()
    rows = np.empty((CLASSES + 1, CLASSES))
    for j in range(CLASSES):
        logits = weight @ (evidence.weight_gradient[j].numpy() / gradient[j]) + evidence.classifier.bias.numpy()
        rows[:CLASSES, j] = np.exp(logits) / np.exp(logits).sum() - np.eye(CLASSES)[j]
    rows[CLASSES] = 1
    solution = np.linalg.pinv(rows) @ np.append(len(FIXED) * gradient, len(FIXED))
    np.testing.assert_allclose(create_rule("ilrg").estimate(evidence).numpy(), solution, atol=1e-7)


def test_geng_zlg_plus_and_rlu_by_plain_loops() -> None:
    """Golden test of T9: the batch's mean confidence, not that of class c on images of class c."""
    evidence = evidence_of(Head(nn.ReLU(), scale=0.3), FIXED)
    responses, labels = evidence.auxiliary_images.responses, evidence.auxiliary_images.labels.tolist()
    confidence, features = responses.confidence.tolist(), responses.features.tolist()
    total = sum(map(sum, features)) / 200
    mean = [sum(row[c] for row in confidence) / 200 for c in range(CLASSES)]
    expected = [8 * (mean[c] - float(evidence.sums[c]) / total) for c in range(CLASSES)]
    assert create_rule("zlg_plus").estimate(evidence).tolist() == pytest.approx(expected)
    logits = responses.logits.tolist()
    others = [[logits[i][c] for i in range(200) if labels[i] != c] for c in range(CLASSES)]
    mu = np.array([sum(column) / len(column) for column in others])
    shares = np.exp(mu) / np.exp(mu).sum() - evidence.bias_gradients.numpy()
    assert create_rule("rlu").estimate(evidence).tolist() == pytest.approx(shares.tolist())
    noise = evidence.classifier.on_randn
    expected = noise.confidence.mean(0) - evidence.sums / noise.features.sum(1).mean()
    torch.testing.assert_close(create_rule("geng").estimate(evidence), 8 * expected)


# Assumptions are checked.


@pytest.mark.parametrize("key", SUMS)
def test_rules_that_go_by_signs_are_skipped_where_features_may_be_negative(key: str) -> None:
    rule = create_rule(key)
    assert rule.reason_to_skip(evidence_of(Head(nn.ReLU()), FIXED)) is None
    leaky = evidence_of(Head(nn.LeakyReLU(0.3)), FIXED)
    assert "features that enter the classifier go down to -" in (rule.reason_to_skip(leaky) or "")
    with pytest.raises(LabelInferenceError, match="go down to"):
        rule.labels(leaky)


@pytest.mark.parametrize("key", BIASES)
def test_rules_on_the_bias_need_a_bias_and_no_sign(key: str) -> None:
    rule = create_rule(key)
    assert rule.labels(evidence_of(Head(nn.LeakyReLU(0.3)), FIXED)).tolist() == FIXED
    without = evidence_of(Head(nn.ReLU(), bias=False), FIXED)
    assert rule.reason_to_skip(without) == "the classifier has no bias, or it is not sent"


@pytest.mark.parametrize("key", ["llg_plus", "zlg_plus", "rlu"])
def test_rules_of_letter_d_need_auxiliary_images(key: str) -> None:
    assert RULES.constants(key)["letter"] == "D"
    reason = create_rule(key).reason_to_skip(evidence_of(Head(nn.ReLU()), FIXED, auxiliary=False))
    assert reason == "needs auxiliary images, which are not granted"


def test_another_loss_is_noticed_and_noise_is_not_taken_for_one() -> None:
    network = Head(nn.ReLU())
    truth = nn.functional.one_hot(torch.tensor(FIXED), CLASSES).float()
    loss = nn.functional.binary_cross_entropy_with_logits(network(images(8)), truth)
    weight, bias = torch.autograd.grad(loss, [network.fc.weight, network.fc.bias])
    evidence = Evidence(weight.double(), bias.double(), 8, Classifier(Victim(network), (3, 4, 4)), 8)
    assert "the loss is no cross-entropy" in (create_rule("bias_corrected").reason_to_skip(evidence) or "")
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noisy = Evidence(noise, bias.double(), 8, evidence.classifier, 8)
    assert create_rule("bias_corrected").reason_to_skip(noisy) is None
    nothing = Evidence(torch.zeros_like(noise), bias.double(), 8, evidence.classifier, 8)
    assert create_rule("min").reason_to_skip(nothing) == "the classifier's gradient is zero or not finite"


def test_the_sign_rule_is_for_one_image_with_one_negative_sum() -> None:
    one = evidence_of(Head(nn.ReLU()), [6])
    assert create_rule("sign").labels(one).tolist() == [6]
    assert create_rule("sign").reason_before(2, 10) == "the rule is for one image, and the batch has 2"
    noise = torch.randn(CLASSES, 24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noisy = Evidence(noise, one.bias_gradient, 1, one.classifier)
    with pytest.raises(LabelInferenceError, match="classes have a negative sum, and one image leaves one"):
        create_rule("sign").labels(noisy)


def test_an_impact_of_no_sign_is_no_answer() -> None:
    network = Head(nn.ReLU())
    network.body.bias.data.fill_(-9.0)  # dead on black images
    evidence = evidence_of(network, FIXED)
    with pytest.raises(LabelInferenceError, match=r"gradient is zero|impact on its class"):
        create_rule("llg_star[inputs=zeros]").labels(evidence)


# The registry.


def test_keys_name_every_rule_and_are_checked() -> None:
    assert set(rule_keys()) >= {"sign", "sum", "min", "llg", "bias_corrected", "ilrg", "geng", "zlg_plus", "rlu"}
    assert "llg_star[inputs=zeros]" in rule_keys()
    with pytest.raises(UnknownNameError, match="did you mean ilrg"):
        create_rule("irlg")
    with pytest.raises(InvalidEntryError, match="inputs='grey' is not valid"):
        create_rule("llg_star[inputs=grey]")
    with pytest.raises(UnknownNameError):
        create_rule("min.fast")


def test_anybody_can_register_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RULES, "_entries", dict(RULES._entries))
    register_rule("always_first", source="here")(
        type("First", (Rule,), {"estimate": lambda self, evidence: torch.eye(evidence.num_classes)[0]})
    )
    assert "always_first" in rule_keys()
    assert create_rule("always_first").labels(evidence_of(Head(nn.ReLU()), FIXED)).tolist() == [0] * 8


# Through a leak.


@pytest.mark.parametrize("key", ["bias_corrected", "ilrg"])
@pytest.mark.parametrize("labels", [FIXED, [3, 3, 7, 7]])
def test_counts_of_an_untrained_victim_through_a_leak(
    key: str, labels: list[int], build: Callable, make_images: Callable, make_leak: Callable
) -> None:
    network = build("test_resnet", size=32)
    leak: Leak = make_leak(network, make_images(len(labels), size=32), torch.tensor(labels), granted="none")
    leak = Leak(**{**vars(leak), "threat_model": ThreatModel(labels="none", max_equal_labels=8)})
    assert infer_labels(leak, Victim(network), key).tolist() == sorted(labels)


def linear_update(labels: Sequence[int], update: str, *, scale: float = 1.0) -> tuple[nn.Module, Evidence]:
    """Several local steps of a linear network, on images that are all one: the mean logits of others are each one's."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).double()
    network.get_classifier = lambda: network[1]
    network[1].weight.data.mul_(scale)
    batch, classes = images(1).double().expand(len(labels), -1, -1, -1) / 4, torch.arange(9) % 3
    kind = create_update(update)
    victim = Victim(network, update=update)
    sent = {
        name: value.detach()
        for name, value in zip(victim.parameter_names, victim.update(batch, torch.tensor(labels)), strict=True)
    }
    moved = {name: value.detach() - sent[name] for name, value in network.named_parameters()}
    gradients, classifier = kind.as_gradient(sent, len(labels)), Classifier(victim, (3, 4, 4))
    public = images(1).double().expand(9, -1, -1, -1) / 4
    before, after = (Auxiliary(classifier.responses(public, state), classes, "noise") for state in ({}, moved))
    return network, Evidence(
        weight_gradient=gradients["1.weight"],
        bias_gradient=gradients["1.bias"],
        batch_size=len(labels),
        classifier=classifier,
        max_equal_labels=len(labels),
        auxiliary=before,
        update=kind,
        auxiliary_after=after,
    )


@pytest.mark.parametrize("local", ["epochs=8,momentum=0.9", "epochs=16"])
def test_rlu_finds_every_multiset_behind_several_steps_of_a_linear_head(local: str) -> None:
    update = f"weight_update[lr=0.2,{local}]"
    at_first = 0
    for labels in combinations_with_replacement(range(3), 4):
        _, evidence = linear_update(labels, update, scale=3)
        assert create_rule("rlu").labels(evidence).tolist() == list(labels)
        # Control: with the confidences of the first step alone counts are missed.
        estimate = evidence.auxiliary_images.logits_of_others.softmax(0) - evidence.bias_gradients
        at_first += largest_remainders(estimate, 4).tolist() == torch.tensor(labels).bincount(minlength=3).tolist()
    assert at_first < 15


def test_simulated_steps_are_those_of_the_optimizer() -> None:
    labels = (0, 0, 2, 2, 2, 1)
    network, evidence = linear_update(labels, "weight_update[epochs=5,lr=0.05,momentum=0.9]", scale=3)
    frequencies = torch.tensor(labels).bincount().double() / 6
    path = simulated_logits(evidence, evidence.auxiliary_images.logits_of_others, frequencies)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    batch, confidences = images(1).double().expand(6, -1, -1, -1) / 4, []
    for step in range(5):
        logits = network(batch)
        torch.testing.assert_close(path[step], logits[0].detach())
        confidences.append(logits[0].detach().softmax(0))
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
        optimizer.step()
    # With the true confidences, each as much as it counts, the counts are exact.
    shares = steps_shares(evidence)
    exact = 6 * (shares @ torch.stack(confidences) - evidence.bias_gradients)
    torch.testing.assert_close(exact, 6 * frequencies)


def test_rules_whose_equation_is_of_one_gradient_are_skipped_for_several_steps() -> None:
    _, evidence = linear_update((0, 1, 1), "weight_update[epochs=4,lr=0.05]")
    for key in ("ilrg", "llg_star", "llg_plus"):
        assert create_rule(key).reason_to_skip(evidence) == (
            "its equation is of one gradient, and the update is of 4 local steps"
        )
    assert any("4 local steps" in limit for limit in create_rule("bias_corrected").limits(evidence))
    assert create_rule("ilrg").reason_to_skip(linear_update((0, 1, 1), "weight_update[lr=0.05]")[1]) is None


def test_zlg_plus_takes_the_mean_of_both_ends() -> None:
    _, evidence = linear_update((0, 1, 1), "weight_update[epochs=4,lr=0.05]")
    ends = []
    for auxiliary in (evidence.auxiliary, evidence.auxiliary_after):
        responses = auxiliary.responses
        mean = sum(row.sum() for row in responses.features) / len(responses.features)
        confidence = sum(row.softmax(0) for row in responses.logits) / len(responses.logits)
        ends.append(3 * (confidence - evidence.weight_gradient.sum(1) / mean))
    torch.testing.assert_close(create_rule("zlg_plus").estimate(evidence), sum(ends) / 2)
