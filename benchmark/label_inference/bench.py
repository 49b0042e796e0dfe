"""Every rule on the batches of one victim, one data set and one setting, and what comes of each."""

from collections.abc import Sequence
from functools import cached_property

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from gradinv.attacks.label_rules import (
    RULES,
    Auxiliary,
    Classifier,
    Evidence,
    LabelInferenceError,
    Rule,
    create_rule,
)
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets import Dataset
from gradinv.benchmark.label_inference.classifier_gradients import (
    ClassifierGradient,
    check_against_client,
    classifier_gradients,
    classifier_name,
)
from gradinv.benchmark.label_inference.setting import LabelSetting, auxiliary_images
from gradinv.benchmark.victims import LoadedVictim, normalise
from gradinv.metrics.images import shared_labels
from gradinv.metrics.keys import parse_key


class RuleResult(BaseModel):
    """A rule at a batch size over some repetitions.

    `shares` of the labels found, one a repetition, 0 where the rule gave no answer, of which there are `unanswered`.
    Without any where the rule is impossible: `skipped` says why. `notes` are what it assumes and does not hold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    batch_size: int
    shares: list[float] = []
    unanswered: int = 0
    skipped: str = ""
    notes: list[str] = []


class Bench:
    """One victim on one data set in one setting: the network is asked once for all batches what rules want to know."""

    def __init__(self, dataset: Dataset, loaded: LoadedVictim, setting: LabelSetting) -> None:
        self.dataset, self.loaded, self.setting = dataset, loaded, setting
        self.rules: dict[str, Rule] = {key: create_rule(key) for key in setting.rules}

    @cached_property
    def classifier(self) -> Classifier:
        """Of a copy of the victim; ClassifierError where it is no linear layer."""
        shape = (3, self.dataset.image_size, self.dataset.image_size)
        classifier_name(self.loaded.module, shape)
        return Classifier(Victim(self.loaded.module), shape)

    @cached_property
    def auxiliary(self) -> Auxiliary | None:
        """The auxiliary images, where the setting grants some and a rule is of those that want them."""
        wanted = any(RULES.constants(parse_key(key).name).get("letter") == "D" for key in self.rules)
        count = self.setting.auxiliary if wanted else 0
        return auxiliary_images(self.dataset, self.loaded, self.classifier, count)

    def evidence(self, gradient: ClassifierGradient, size: int) -> Evidence:
        """What a rule sees of one batch."""
        return Evidence(
            weight_gradient=_plain(gradient.weight),
            bias_gradient=None if gradient.bias is None else _plain(gradient.bias),
            batch_size=size,
            classifier=self.classifier,
            max_equal_labels=self.setting.max_equal_labels,
            auxiliary=self.auxiliary,
        )

    def run(self, repetitions: Sequence[int]) -> list[RuleResult]:
        """Every rule at every size over these repetitions.

        The first one is checked against the client's update: InconsistentExperimentError where they differ.
        """
        batches = [self._batch(repetition, check=repetition == repetitions[0]) for repetition in repetitions]
        return [
            _result(key, rule, [(evidences[size], labels[:size]) for evidences, labels in batches], size)
            for key, rule in self.rules.items()
            for size in self.setting.batch_sizes
        ]

    def _batch(self, repetition: int, *, check: bool) -> tuple[dict[int, Evidence], Tensor]:
        """What a rule sees of a repetition at each size, and the labels of the largest."""
        module, name, sizes = self.loaded.module, self.classifier.weight_name, self.setting.batch_sizes
        device = next(module.parameters()).device
        # One draw and one forward pass serve every size: the smaller batches are beginnings of the largest.
        batch = self.setting.batch(self.dataset, repetition)
        images = normalise(batch.images, self.loaded.mean, self.loaded.std).to(device)
        labels = batch.labels.to(device)
        gradients = classifier_gradients(module, name, images, labels, sizes)
        if check:  # once a chunk: the check costs the backpropagation that is saved
            check_against_client(module, name, images, labels, gradients)
        return {size: self.evidence(gradient, size) for size, gradient in gradients.items()}, batch.labels


def _result(key: str, rule: Rule, batches: list[tuple[Evidence, Tensor]], size: int) -> RuleResult:
    first = batches[0][0]
    reason = rule.reason_to_skip(first)
    if reason is not None:
        return RuleResult(rule=key, batch_size=size, skipped=reason)
    shares, reasons = [], []
    for evidence, labels in batches:
        try:
            shares.append(shared_labels(rule.labels(evidence), labels))
        except LabelInferenceError as error:
            shares.append(0.0)
            reasons.append(str(error))
    if len(reasons) == len(batches):  # it is about the network, and no batch's fault
        return RuleResult(rule=key, batch_size=size, skipped=reasons[0])
    notes = list(rule.limits(first))
    return RuleResult(rule=key, batch_size=size, shares=shares, unanswered=len(reasons), notes=notes)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()
