"""The client's gradient of the classifier's weight and bias from features and logits, for many batch sizes at once.

In eval mode no image changes another's features or logits. The gradient of the mean cross-entropy over B images is then
the mean over images of (softmax of the logits - one-hot label) times the features that enter the linear classifier: one
forward pass of an image gives its part in every batch that it is in.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gradinv.attacks.victim import NoClassifierError, Victim
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment import SELF_CHECK_TOLERANCE, InconsistentExperimentError, client_update
from gradinv.metrics.registry import RequestError


class ClassifierError(RequestError):
    """A network whose classifier is not one linear layer that makes the logits out of features (B, F)."""


class ClassifierGradient(NamedTuple):
    """The gradient of the weight (classes, features), and of the bias (classes,), None where it is not sent."""

    weight: Tensor
    bias: Tensor | None


def classifier_name(module: nn.Module, image_shape: tuple[int, int, int]) -> str:
    """Name of the classifier's weight; ClassifierError where the classifier is no linear layer or there is none."""
    try:
        name = Victim(module).classifier_weight(image_shape)
    except NoClassifierError as error:
        raise ClassifierError(str(error)) from error
    if not isinstance(_layer(module, name), nn.Linear):
        raise ClassifierError(f"the classifier of {_title(module)} is no linear layer; take a victim where it is one")
    return name


def sends_bias(module: nn.Module, classifier: str) -> bool:
    """Whether the classifier has a bias that is trained."""
    bias = getattr(_layer(module, classifier), "bias", None)
    return bias is not None and bias.requires_grad


def classifier_gradients(
    features: Tensor, logits: Tensor, labels: Tensor, batch_sizes: Sequence[int], *, has_bias: bool
) -> dict[int, ClassifierGradient]:
    """Batch size -> gradient for the beginning of that size of a batch.

    `features` (B, F) and `logits` (B, classes) are those of `classified`, `labels` (B,) class indices, B at least the
    largest size. The gradient is the client's, of the mean cross-entropy.
    """
    # `log_softmax(1).exp()` and not `softmax(1)`: that is how the backward pass of cross-entropy computes it.
    errors = logits.log_softmax(1).exp() - nn.functional.one_hot(labels, logits.shape[1])
    return {
        size: ClassifierGradient(
            # Divided first, as in backpropagation, where the mean's factor comes with the gradient of the loss.
            (errors[:size] / size).T @ features[:size],
            (errors[:size] / size).sum(0) if has_bias else None,
        )
        for size in batch_sizes
    }


def check_against_client(
    module: nn.Module, classifier: str, images: Tensor, labels: Tensor, gradients: dict[int, ClassifierGradient]
) -> None:
    """Compare each gradient with what the client's update by backpropagation has for the same tensors.

    Raises InconsistentExperimentError where they differ by more than rounding.
    """
    none = create_defense("none")
    for size, gradient in gradients.items():
        update = client_update(module, images[:size], labels[:size], bn_mode="eval", defense=none, seed=0)
        _compare(classifier, gradient.weight, update.sent[classifier], size)
        if gradient.bias is not None:
            bias = classifier.removesuffix("weight") + "bias"
            _compare(bias, gradient.bias, update.sent[bias], size)


def _compare(name: str, gradient: Tensor, true: Tensor, size: int) -> None:
    # Negated, so that a NaN is refused too.
    if not bool((gradient - true).norm() <= SELF_CHECK_TOLERANCE * true.norm()):
        raise InconsistentExperimentError(
            f"the gradient of {name} is not that of the client's update at batch size {size}: they differ by "
            f"{float((gradient - true).norm()):.3g} at a norm of {float(true.norm()):.3g}"
        )


def classified(module: nn.Module, classifier: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """What enters the classifier (B, F) and the logits (B, classes) that the network makes of normalised images.

    `classifier` is the weight's name as `classifier_name` gives it; the network is in eval mode. ClassifierError where
    the network does more with the classifier's output, or calls it more than once: the gradient is then not the product
    that `classifier_gradients` takes it for.
    """
    layer = _layer(module, classifier)
    seen: list[tuple[Tensor, Tensor]] = []  # one entry a call of the classifier
    # `append` returns None, by which a hook leaves the output as it is.
    handle = layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    try:
        with torch.no_grad():
            logits = module(images)
    finally:
        handle.remove()
    if len(seen) != 1 or seen[0][0].ndim != 2 or not torch.equal(seen[0][1], logits):
        raise ClassifierError(
            f"the logits of {_title(module)} are not what its linear classifier makes of features (B, F); "
            "take a victim where they are"
        )
    return seen[0]


def _layer(module: nn.Module, weight: str) -> nn.Module:
    return module.get_submodule(weight.rpartition(".")[0])


def _title(module: nn.Module) -> str:
    return type(module).__name__
