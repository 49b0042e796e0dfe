"""Label rules: exact for distinct labels on real gradients; errors and grants as they say."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from gradinv.attacks.label_rules import Evidence, LabelInferenceError, create_rule
from gradinv.attacks.labels import infer_labels, limits_of, resolve_labels
from gradinv.attacks.leak import Leak, ThreatModel
from gradinv.attacks.registry import create_attack
from gradinv.attacks.victim import NoClassifierError, Victim
from gradinv.metrics.registry import UnknownNameError

CLASSES = 20


@pytest.fixture
def real_leak(build: Callable, make_images: Callable, make_leak: Callable) -> Callable[..., tuple[Leak, Victim]]:
    """`real_leak(model, batch, seed)`: a leak of distinct labels in random order from an untrained victim."""

    def make(model: str, batch: int, seed: int = 0) -> tuple[Leak, Victim]:
        net = build(model, classes=CLASSES)
        labels = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(seed))[:batch]
        return make_leak(net, make_images(batch, size=16, seed=seed), labels), Victim(net)

    return make


@pytest.mark.parametrize("model", ["lenet_dlg", "test_resnet"])
@pytest.mark.parametrize("batch", [1, 4, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_min_rule_is_exact_for_distinct_labels(real_leak: Callable, model: str, batch: int, seed: int) -> None:
    leak, victim = real_leak(model, batch, seed)
    assert infer_labels(leak, victim, "min").tolist() == leak.labels.sort().values.tolist()


@pytest.mark.parametrize("model", ["lenet_dlg", "test_resnet"])
@pytest.mark.parametrize("seed", range(4))
def test_the_sign_rule_is_exact_for_one_image(real_leak: Callable, model: str, seed: int) -> None:
    leak, victim = real_leak(model, 1, seed)
    assert infer_labels(leak, victim, "sum").tolist() == leak.labels.tolist()
    sums = leak.gradients[victim.classifier_weight(leak.image_shape)].sum(dim=1)
    assert (sums < 0).nonzero().flatten().tolist() == leak.labels.tolist()


@pytest.mark.parametrize("batch", [4, 8])
def test_the_sum_rule_extends_to_batches(real_leak: Callable, batch: int) -> None:
    leak, victim = real_leak("test_resnet", batch)
    assert infer_labels(leak, victim, "sum").tolist() == leak.labels.sort().values.tolist()


def test_the_rules_equal_plain_loops(real_leak: Callable) -> None:
    leak, victim = real_leak("test_resnet", 3)
    noise = torch.randn(CLASSES, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    evidence, rows = replace(Evidence.of(leak, victim), weight_gradient=noise), noise.tolist()
    by_sum = sorted(range(CLASSES), key=lambda k: sum(rows[k]))[:3]
    by_min = sorted(range(CLASSES), key=lambda k: min(rows[k]))[:3]
    assert create_rule("sum").labels(evidence).tolist() == sorted(by_sum)
    assert create_rule("min").labels(evidence).tolist() == sorted(by_min)


def test_equal_scores_go_to_the_lower_class(real_leak: Callable) -> None:
    leak, victim = real_leak("test_resnet", 2)
    evidence = replace(Evidence.of(leak, victim), weight_gradient=torch.zeros(CLASSES, 5, dtype=torch.float64))
    assert create_rule("min").estimate(evidence).nonzero().flatten().tolist() == [0, 1]


@pytest.mark.parametrize("rule", ["min", "sum"])
def test_more_images_than_classes_is_an_error(real_leak: Callable, rule: str) -> None:
    leak, victim = real_leak("test_resnet", 2)
    evidence = replace(Evidence.of(leak, victim), batch_size=21)
    with pytest.raises(LabelInferenceError, match="21 distinct labels cannot be inferred among 20 classes"):
        create_rule(rule).labels(evidence)


def test_a_convolutional_classifier_is_read_too(make_images: Callable, make_leak: Callable) -> None:
    class Head(nn.Sequential):
        def get_classifier(self) -> nn.Module:
            return self[2]

    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Head(nn.Conv2d(3, 6, 6), nn.Sigmoid(), nn.Conv2d(6, CLASSES, 1), nn.Flatten())
    leak = make_leak(net, make_images(3), torch.tensor([17, 2, 9]))
    assert leak.gradients[Victim(net).classifier_weight(leak.image_shape)].shape == (CLASSES, 6, 1, 1)
    for rule in ("sum", "min", "ilrg"):
        assert infer_labels(leak, Victim(net), rule).tolist() == [2, 9, 17]


def test_a_grant_goes_before_inference_unless_the_attack_always_infers(real_leak: Callable) -> None:
    leak, victim = real_leak("test_resnet", 4)
    wrong = replace(leak, labels=torch.tensor([1, 1, 1, 1]))
    given, method = resolve_labels(wrong, victim, "min")
    assert (given.tolist(), method) == ([1, 1, 1, 1], "given")
    inferred, method = resolve_labels(wrong, victim, "min", always_infer=True)
    assert (inferred.tolist(), method) == (leak.labels.sort().values.tolist(), "inferred:min")
    inferred, method = resolve_labels(replace(leak, labels=None), victim, "sum")
    assert (inferred.tolist(), method) == (leak.labels.sort().values.tolist(), "inferred:sum")


def test_without_a_classifier_there_is_nothing_to_infer(make_images: Callable, make_leak: Callable) -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    leak = make_leak(net, make_images(1), torch.tensor([0]), granted="none")
    with pytest.raises(NoClassifierError, match="no label can be inferred"):
        infer_labels(leak, Victim(net), "sum")


@pytest.mark.parametrize(
    ("method", "batch", "equal", "noted"),
    [
        ("inferred:min", 4, 2, True),
        ("inferred:sum", 4, 8, True),
        ("inferred:min", 4, 1, False),
        ("inferred:min", 1, 2, False),
        ("given", 4, 2, False),
        ("optimised", 4, 2, False),
    ],
)
def test_labels_that_a_rule_cannot_find_are_noted(
    real_leak: Callable, method: str, batch: int, equal: int, noted: bool
) -> None:
    leak, victim = real_leak("lenet_dlg", batch)
    leak = replace(leak, threat_model=leak.threat_model.model_copy(update={"max_equal_labels": equal}))
    notes = limits_of(leak, victim, method)
    assert bool(notes) == noted
    if noted:
        rule = method.removeprefix("inferred:")
        finds = f"labels: the rule {rule} finds distinct labels only"
        assert notes == (f"{finds}, and up to {min(batch, equal)} in a batch may be equal",)


REPEATED = torch.tensor([7, 1, 3, 7, 9, 1, 3, 7])


@pytest.fixture
def repeated(build: Callable, make_images: Callable, make_leak: Callable) -> tuple[Leak, Victim]:
    """A leak of labels that repeat and are not granted, from an untrained victim."""
    net = build("test_resnet", classes=10)
    leak = make_leak(net, make_images(8, size=16), REPEATED, granted="none", statistics="none")
    return replace(leak, threat_model=ThreatModel(labels="none", bn_statistics="none", max_equal_labels=3)), Victim(net)


@pytest.mark.parametrize("attack", ["gradinversion.no_bn", "inverting_gradients", "idlg"])
@pytest.mark.parametrize("rule", ["bias_corrected", "ilrg"])
def test_every_attack_works_with_the_counts_that_a_rule_infers(repeated: tuple, attack: str, rule: str) -> None:
    leak, victim = repeated
    result = create_attack(f"{attack}[label_rule={rule}]").reconstruct(leak, victim, seed=0, budget=20)
    assert result.labels.tolist() == REPEATED.sort().values.tolist()  # as `labels: counts` hands them out
    assert result.label_method == f"inferred:{rule}"
    assert not any("labels" in note for note in result.notes)


def test_a_rule_of_distinct_labels_is_limited_and_one_that_lacks_images_raises(repeated: tuple) -> None:
    leak, victim = repeated
    result = create_attack("gradinversion.no_bn").reconstruct(leak, victim, seed=0, budget=8)
    assert result.labels.tolist() != REPEATED.sort().values.tolist()
    assert "labels: the rule min finds distinct labels only, and up to 3 in a batch may be equal" in result.notes
    with pytest.raises(LabelInferenceError, match="needs auxiliary images, which are not granted"):
        create_attack("gradinversion.no_bn[label_rule=rlu]").reconstruct(leak, victim, seed=0, budget=8)


@pytest.mark.parametrize("rule", ["sum", "min", "llg", "bias_corrected", "ilrg", "geng"])
def test_no_rule_sees_labels(repeated: tuple, rule: str) -> None:
    """The "iDLG" baseline of the LLG release returned the true ones."""
    leak, victim = repeated
    inferred = infer_labels(leak, victim, rule)
    for labels in (REPEATED, torch.zeros(8, dtype=torch.int64)):
        assert torch.equal(infer_labels(replace(leak, labels=labels), victim, rule), inferred)


@pytest.mark.parametrize("attack", ["gradinversion", "inverting_gradients", "idlg"])
def test_an_unknown_rule_is_refused_before_a_trial(attack: str) -> None:
    with pytest.raises(UnknownNameError, match="did you mean ilrg"):
        create_attack(f"{attack}[label_rule=irlg]")


class OtherHead(nn.Module):
    """Features and a classifier of ten classes that is more, or less, than a linear layer."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 24), nn.ReLU())
        if kind == "mlp":
            self.hidden = nn.Sequential(nn.Linear(24, 24), nn.ReLU())
        if kind == "two heads":
            self.second = nn.Linear(24, 10)
        self.head = nn.Linear(24, 10, bias=kind in ("mlp", "two heads"))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.body(x)
        if self.kind == "mlp":
            return self.head(self.hidden(features))
        if self.kind == "cosine":
            directions = nn.functional.normalize(self.head.weight, dim=1)
            return nn.functional.linear(nn.functional.normalize(features, dim=1), directions)
        logits = self.head(features)
        return (logits + self.second(features)) / 2 if self.kind == "two heads" else logits


@pytest.mark.parametrize(
    ("kind", "exact", "skipped"),
    [
        ("mlp", ["bias_corrected", "ilrg", "geng"], {}),
        ("no bias", [], dict.fromkeys(("bias_corrected", "ilrg"), "has no bias")),
        ("two heads", [], dict.fromkeys(("bias_corrected", "min", "ilrg"), "not the output of one linear layer")),
        ("cosine", [], dict.fromkeys(("bias_corrected", "min", "ilrg"), "not the output of one linear layer")),
    ],
)
def test_another_head_gets_what_holds_there_or_a_reason(
    make_images: Callable, make_leak: Callable, kind: str, exact: list[str], skipped: dict[str, str]
) -> None:
    net = OtherHead(kind)
    labels = torch.tensor([3, 3, 7, 7])
    leak = make_leak(net, make_images(4), labels, granted="none", statistics="none")
    for rule in exact:
        assert infer_labels(leak, Victim(net), rule).tolist() == [3, 3, 7, 7]
    for rule, reason in skipped.items():
        with pytest.raises((LabelInferenceError, NoClassifierError), match=reason):
            infer_labels(leak, Victim(net), rule)
    if kind == "no bias":  # of two classes in four labels, the rules on the weight still find both
        assert set(infer_labels(leak, Victim(net), "min").tolist()) >= {3, 7}
        assert infer_labels(leak, Victim(net), "llg").tolist() == [3, 3, 7, 7]
