"""What a rule of label inference sees: the classifier's gradient, the classifier, and auxiliary images if granted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor, nn

from gradinv.attacks.leak import Leak
from gradinv.attacks.update import Gradient, Update, create_update
from gradinv.attacks.victim import Victim, call_with

PROBES = 32
"""Random images by which a rule gets to know the network: as many as a large batch."""


@dataclass(frozen=True)
class Responses:
    """What the classifier makes of N images: its input `features` (N, F) and `logits` (N, C), float64, on the CPU."""

    features: Tensor
    logits: Tensor

    # Kept once computed: a rule asks the same of them for every batch of thousands.
    @cached_property
    def confidence(self) -> Tensor:
        """The softmax of the logits (N, C)."""
        return self.logits.softmax(dim=1)

    @cached_property
    def mean_confidence(self) -> Tensor:
        """Mean over the images of each class's confidence (C,)."""
        return self.confidence.mean(dim=0)

    @cached_property
    def mean_feature_sum(self) -> Tensor:
        """Mean over the images of the sum of the features, ()."""
        return self.features.sum(dim=1).mean()

    @cached_property
    def weighted_confidence(self) -> Tensor:
        """Mean over the images of each class's confidence times the sum of the features (C,)."""
        return (self.confidence * self.features.sum(dim=1, keepdim=True)).mean(dim=0)

    @cached_property
    def least_feature(self) -> float:
        """The smallest of all features."""
        return float(self.features.min())

    @staticmethod
    def joined(parts: "Sequence[Responses]") -> "Responses":
        """Those of several groups of images, one after another."""
        return Responses(torch.cat([part.features for part in parts]), torch.cat([part.logits for part in parts]))


@dataclass(frozen=True)
class Auxiliary:
    """Public images of the victim's domain, as the classifier sees them, with their labels (N,).

    `source` says in words where they are from; they are never images of a private batch.
    """

    responses: Responses
    labels: Tensor
    source: str

    @cached_property
    def logits_of_others(self) -> Tensor:
        """(C,): the mean logit of class c over the images that are not of class c."""
        other = torch.ones_like(self.responses.logits)
        other[torch.arange(len(other)), self.labels] = 0
        return (self.responses.logits * other).sum(dim=0) / other.sum(dim=0)


class Classifier:
    """The victim's classifier from before the update, which may be asked what it makes of images of one's own choice.

    `weight` (C, F) and `bias` (C,), None where it has none, are in float64 on the CPU, as everything that rules
    calculate with. Raises NoClassifierError where there is none, or where its gradient is not sent.
    """

    def __init__(self, victim: Victim, image_shape: tuple[int, int, int]) -> None:
        self.victim, self.image_shape = victim, image_shape
        self.weight_name = victim.classifier_weight(image_shape)
        layer = victim.module.get_submodule(self.weight_name.rpartition(".")[0])
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        self._layer = layer
        # Flattened, since a classifier may be a 1x1 convolution, whose weight has four dimensions.
        self.weight = _plain(layer.weight).flatten(1)
        self.bias = None if layer.bias is None else _plain(layer.bias)

    @property
    def bias_name(self) -> str:
        """The name that its bias would have among what is sent."""
        return self.weight_name.removesuffix("weight") + "bias"

    @torch.no_grad()
    def responses(self, images: Tensor, parameters: Mapping[str, Tensor] = MappingProxyType({})) -> Responses:
        """What it makes of normalised images (N, C, H, W), with these parameters by name in place of the victim's."""
        seen: list[Tensor] = []
        handle = self._layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            logits = call_with(self.victim.module, parameters, images.to(self.victim.parameters[0]))
        finally:
            handle.remove()
        return Responses(_plain(seen[0]).flatten(1), _plain(logits))

    @cached_property
    def on_zeros(self) -> Responses:
        """On images whose normalised values are all 0. Two of them, for batch norm in train mode."""
        return self.responses(torch.zeros(2, *self.image_shape))

    @cached_property
    def on_ones(self) -> Responses:
        """On images whose normalised values are all 1."""
        return self.responses(torch.ones(2, *self.image_shape))

    @cached_property
    def on_randn(self) -> Responses:
        """On standard normal images, the same ones in every process."""
        generator = torch.Generator().manual_seed(0)
        return self.responses(torch.randn(PROBES, *self.image_shape, generator=generator))


@dataclass(frozen=True)
class Evidence:
    """The gradient of the mean cross-entropy for the classifier's weight (C, F) and bias (C,), and what is known.

    `bias_gradient` is None where there is no bias or it is not sent. Gradients are in float64 on the CPU. Up to
    `max_equal_labels` of the `batch_size` labels may be equal. `auxiliary` is there only if granted. Of an `update` of
    several steps gradients are the mean over its steps, as `Update.as_gradient` has it, and `auxiliary_after` is what
    the network makes of the auxiliary images after the last.
    """

    weight_gradient: Tensor
    bias_gradient: Tensor | None
    batch_size: int
    classifier: Classifier
    max_equal_labels: int = 1
    auxiliary: Auxiliary | None = None
    update: Update = field(default_factory=Gradient)
    auxiliary_after: Auxiliary | None = None

    @classmethod
    def of(cls, leak: Leak, victim: Victim) -> "Evidence":
        """That of a leak of this victim; NoClassifierError and LeakError where the two do not fit."""
        victim.require_fit(leak)
        # Rules go by signs, and what a client sends need not have those of a gradient.
        update = create_update(leak.threat_model.update)
        gradients = update.as_gradient(leak.gradients, leak.batch_size)
        classifier = Classifier(victim, leak.image_shape)
        bias = gradients.get(classifier.bias_name)
        return cls(
            weight_gradient=_plain(gradients[classifier.weight_name]).flatten(1),
            bias_gradient=None if bias is None else _plain(bias),
            batch_size=leak.batch_size,
            classifier=classifier,
            max_equal_labels=leak.threat_model.max_equal_labels,
            update=update,
        )

    @property
    def steps(self) -> int:
        """Local steps that the update is made of."""
        return self.update.steps(self.batch_size)

    @property
    def num_classes(self) -> int:
        """C, the rows of the classifier."""
        return len(self.weight_gradient)

    @cached_property
    def sums(self) -> Tensor:
        """Sum over the features of every class's weight gradient (C,)."""
        # Row c is the mean over the batch of (probability of c - whether c is true) times the features. With features
        # that are not negative, only a true class can have a negative sum.
        return self.weight_gradient.sum(dim=1)

    @cached_property
    def imbalance(self) -> float:
        """Norm of the weight gradient's sum over the classes, over its own norm; NaN where it is zero or not finite."""
        # Over the classes, probabilities and true labels sum to one each: cross-entropy leaves rounding errors.
        return float(self.weight_gradient.sum(dim=0).norm() / self.weight_gradient.norm())

    @property
    def bias_gradients(self) -> Tensor:
        """The gradient of the bias (C,), for rules that assume one: mean probability of c - share of c in the batch."""
        assert self.bias_gradient is not None, "a rule that uses the bias must assume BIAS"
        return self.bias_gradient

    @property
    def auxiliary_images(self) -> Auxiliary:
        """The auxiliary images, for rules that assume some."""
        assert self.auxiliary is not None, "a rule that uses auxiliary images must assume AUXILIARY_IMAGES"
        return self.auxiliary

    @property
    def auxiliary_after_steps(self) -> Auxiliary:
        """The same after the last of several steps."""
        assert self.auxiliary_after is not None, "who grants auxiliary images asks the network after the update too"
        return self.auxiliary_after


def _plain(tensor: Tensor) -> Tensor:
    # On the CPU first: not every device has double precision.
    return tensor.detach().cpu().double()
