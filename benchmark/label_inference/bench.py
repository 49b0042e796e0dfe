"""Every rule on the batches of one victim, one data set and one setting, and what comes of each."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import torch
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
from gradinv.attacks.update import Gradient, create_update
from gradinv.attacks.victim import Victim
from gradinv.benchmark.datasets import Batch, Dataset, seed_of
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment import client_update
from gradinv.benchmark.label_inference.classifier_gradients import (
    ClassifierGradient,
    check_against_client,
    classified,
    classifier_gradients,
    classifier_name,
    sends_bias,
)
from gradinv.benchmark.label_inference.setting import AuxiliaryImages, LabelSetting, auxiliary_images
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


BLOCK = 50
"""Images passed through the network at once, always the same ones together: so rounding depends on no draw."""


class Bench:
    """One victim on one data set in one setting: the network is asked once for every image."""

    def __init__(self, dataset: Dataset, loaded: LoadedVictim, setting: LabelSetting) -> None:
        self.defense = None if setting.defense == "none" else create_defense(setting.defense)
        if self.defense is not None:
            loaded = replace(loaded, module=self.defense.on_model(loaded.module))
        self.update = None if setting.update == "gradient" else create_update(setting.update)
        self.dataset, self.loaded, self.setting = dataset, loaded, setting
        self.rules: dict[str, Rule] = {key: create_rule(key) for key in setting.rules}
        self._blocks: dict[int, tuple[Tensor, Tensor]] = {}

    @cached_property
    def classifier(self) -> Classifier:
        """Of a copy of the victim; ClassifierError where it is no linear layer."""
        shape = self.dataset.image_shape
        classifier_name(self.loaded.module, shape)
        return Classifier(Victim(self.loaded.module), shape)

    @cached_property
    def auxiliary_images(self) -> AuxiliaryImages | None:
        """The auxiliary images, where the setting grants some and a rule is of those that want them."""
        wanted = any(RULES.constants(parse_key(key).name).get("letter") == "D" for key in self.rules)
        return auxiliary_images(self.dataset, self.loaded, self.setting.auxiliary if wanted else 0)

    @cached_property
    def auxiliary(self) -> Auxiliary | None:
        """The same as the classifier sees them."""
        return None if self.auxiliary_images is None else self.auxiliary_images.seen_by(self.classifier)

    def run(self, repetitions: Sequence[int]) -> list[RuleResult]:
        """Every rule at every size over these repetitions.

        Without a defense the first one is checked against the client's update at one size: InconsistentExperimentError
        where they differ.
        """
        tallies = {(key, size): Tally(rule) for key, rule in self.rules.items() for size in self.setting.batch_sizes}
        for repetition in repetitions:
            evidences, labels = self._batch(repetition, check=repetition == repetitions[0])
            for (_, size), tally in tallies.items():
                tally.add(evidences[size], labels[:size])
        return [tally.result(key, size) for (key, size), tally in tallies.items()]

    def _batch(self, repetition: int, *, check: bool) -> tuple[dict[int, Evidence], Tensor]:
        """What a rule sees of a repetition at each size, and the labels of the largest."""
        module, name, sizes = self.loaded.module, self.classifier.weight_name, self.setting.batch_sizes
        # One draw serves every size: the smaller batches are beginnings of the largest.
        batch = self.setting.batch(self.dataset, repetition)
        if self.defense is not None or self.update is not None:
            return {size: self._received(batch, repetition, size) for size in sizes}, batch.labels
        features, logits = self._classified(batch.indices)
        labels = batch.labels.to(logits.device)
        gradients = classifier_gradients(features, logits, labels, sizes, has_bias=sends_bias(module, name))
        if check:
            # One size, the sizes in turn: the check costs the backpropagation that is saved.
            size = sizes[-1 - repetition % len(sizes)]
            images = normalise(batch.images, self.loaded.mean, self.loaded.std).to(logits.device)
            check_against_client(module, name, images, labels, {size: gradients[size]})
        return {size: self._evidence(gradient, size) for size, gradient in gradients.items()}, batch.labels

    def _received(self, batch: Batch, repetition: int, size: int) -> Evidence:
        """What a client sends of the first images of a batch, whose whole update is made: defenses need it."""
        sent = self._sent(batch, repetition, size)
        kind, name = self.update or Gradient(), self.classifier.weight_name
        gradients = kind.as_gradient(sent, size)
        has_bias = sends_bias(self.loaded.module, name)
        gradient = ClassifierGradient(
            gradients[name].flatten(1), gradients[self.classifier.bias_name] if has_bias else None
        )
        after = None
        if self.auxiliary_images is not None and kind.steps(size) > 1:
            weights = dict(self.loaded.module.named_parameters())
            moved = {key: weights[key].detach() - value for key, value in sent.items()}
            after = self.auxiliary_images.seen_by(self.classifier, moved)
        return replace(self._evidence(gradient, size), update=kind, auxiliary_after=after)

    def _sent(self, batch: Batch, repetition: int, size: int) -> dict[str, Tensor]:
        module, defense = self.loaded.module, self.defense or create_defense("none")
        device = next(module.parameters()).device
        images = normalise(batch.images[:size], self.loaded.mean, self.loaded.std).to(device)
        labels = batch.labels[:size].to(device)
        # Seeded as a trial's defense is.
        seed = seed_of("defense", self.dataset.name, repetition)
        update = self.setting.update
        return client_update(module, images, labels, bn_mode="eval", defense=defense, seed=seed, update=update).sent

    def _evidence(self, gradient: ClassifierGradient, size: int) -> Evidence:
        return Evidence(
            weight_gradient=_plain(gradient.weight),
            bias_gradient=None if gradient.bias is None else _plain(gradient.bias),
            batch_size=size,
            classifier=self.classifier,
            max_equal_labels=self.setting.max_equal_labels,
            auxiliary=self.auxiliary,
        )

    def _classified(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Features (B, F) and logits (B, classes) of these evaluation images."""
        rows = [[part[index % BLOCK] for part in self._block(index // BLOCK)] for index in indices]
        features, logits = zip(*rows, strict=True)
        return torch.stack(features), torch.stack(logits)

    def _block(self, number: int) -> tuple[Tensor, Tensor]:
        if number not in self._blocks:
            split = self.dataset.split("evaluation")
            members = range(number * BLOCK, min((number + 1) * BLOCK, len(split)))
            images = normalise(split.images(members), self.loaded.mean, self.loaded.std)
            device = next(self.loaded.module.parameters()).device
            self._blocks[number] = classified(self.loaded.module, self.classifier.weight_name, images.to(device))
        return self._blocks[number]


class Tally:
    """What one rule makes of one batch after another."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.shares: list[float] = []
        self.reasons: list[str] = []
        self.limits: tuple[str, ...] | None = None

    def add(self, evidence: Evidence, labels: Tensor) -> None:
        """Infer the labels of a batch and compare them with the true ones (B,)."""
        if self.limits is None:  # of the network and the setting, so that one batch tells
            self.limits = self.rule.limits(evidence)
        try:
            self.shares.append(shared_labels(self.rule.labels(evidence), labels))
        except LabelInferenceError as error:
            self.shares.append(0.0)
            self.reasons.append(str(error))

    def result(self, key: str, size: int) -> RuleResult:
        """The shares, or why the rule never answers: that is about the network, and no batch's fault."""
        if len(self.reasons) == len(self.shares):
            return RuleResult(rule=key, batch_size=size, skipped=self.reasons[0])
        notes = list(self.limits or ())
        return RuleResult(rule=key, batch_size=size, shares=self.shares, unanswered=len(self.reasons), notes=notes)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()
