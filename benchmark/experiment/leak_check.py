"""Whether an update can come from a network, in words, before anything is spent on attacking it.

Names, shapes and types that do not fit end the command; what is said here is for the eye, since none of it is proof.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from gradinv.attacks.label_rules import Evidence, LabelInferenceError, create_rule, rule_keys
from gradinv.attacks.leak import Leak
from gradinv.attacks.update import create_update
from gradinv.attacks.victim import NoClassifierError, Victim
from gradinv.benchmark.experiment.leak_file import ReceivedLeak

USUAL_SCALE = (0.02, 20.0)
"""Norm over that of noise: a learning rate left in, a sum for a mean or other weights lead out of it."""
SHOWN_LABELS = 16
BALANCED = 1e-2
"""Relative: sums over classes of the classifier's gradient are rounding errors where the loss is cross-entropy."""


def consistency(received: ReceivedLeak) -> list[str]:
    """Lines on names, mode, labels, scale and loss; those that begin with `check` are of what looks wrong."""
    leak, victim = received.leak, received.victim
    numbers = sum(value.numel() for value in leak.gradients.values())
    types = sorted({str(value.dtype).removeprefix("torch.") for value in leak.gradients.values()})
    yes = f"{len(leak.gradients)} tensors of {numbers:,} numbers, {', '.join(types)}, as the victim trains them"
    mark = "check mode" if received.mode.endswith("check both") else "mode"
    inferred = _inferred(leak, victim)
    return [
        f"names, shapes, types: {yes}",
        f"{mark}: {received.mode}",
        *_on_labels(leak, victim, inferred),
        _on_scale(leak, victim, inferred),
        *_on_loss(leak, victim),
        *_on_observations(leak, victim),
    ]


def _inferred(leak: Leak, victim: Victim) -> dict[str, Tensor] | str:
    """What each rule of label inference gives, by its key; or why no rule gives anything."""
    try:
        evidence = Evidence.of(leak, victim)
    except NoClassifierError as error:
        return str(error)
    inferred, reasons = {}, []
    for key in rule_keys():
        try:
            inferred[key] = create_rule(key).labels(evidence)
        except LabelInferenceError as error:
            reasons.append(f"{key}: {error}")
    return inferred or "; ".join(reasons)


def _on_labels(leak: Leak, victim: Victim, inferred: dict[str, Tensor] | str) -> Iterator[str]:
    given = None if leak.labels is None else leak.labels.cpu().sort().values
    if given is not None:
        yield f"labels: given, {_listed(given)}"
    if isinstance(inferred, str):
        yield f"labels: none inferred: {inferred}"
        return
    scores = _classifier_gradient(leak, victim).sum(dim=1)
    negative, size = int((scores < 0).sum()), leak.batch_size
    if negative == size:
        yield f"labels: {size} classes have a negative sum, as a batch of {size} distinct labels leaves them"
    else:
        yield (
            f"check labels: {negative} classes have a negative sum and the batch has {size} images; labels repeat, "
            "features are negative, or batch_size is wrong"
        )
    # Rules that agree share a line: there are a dozen of them.
    by_result: dict[tuple[int, ...], list[str]] = {}
    for key, labels in inferred.items():
        by_result.setdefault(tuple(labels.tolist()), []).append(key)
    for result, keys in by_result.items():
        labels = torch.tensor(result)
        agrees = "" if given is None else ", those given" if torch.equal(labels, given) else ", not those given"
        yield f"labels: {_listed(labels)} by {' '.join(keys)}{agrees}"


def _on_scale(leak: Leak, victim: Victim, inferred: dict[str, Tensor] | str) -> str:
    """The norm of the update beside that of noise images with the labels given, else inferred, else the first ones."""
    if not victim.update_kind.has_scale:
        return "scale: not to be compared, since nothing is known of the local training"
    if leak.labels is not None:
        labels, whose = leak.labels, "the labels given"
    elif not isinstance(inferred, str):
        labels, whose = next(iter(inferred.values())), "the labels inferred"
    else:
        labels, whose = torch.arange(leak.batch_size) % leak.num_classes, "any labels"
    images = torch.randn(leak.shape, generator=torch.Generator().manual_seed(0)).to(victim.device)
    norm = _norm(leak.gradients.values())
    noise = _norm(value.detach() for value in victim.update(images, labels.to(victim.device, torch.int64)))
    ratio = norm / noise if noise else math.inf
    line = f"scale: norm {norm:.3g}, {ratio:.3g} times that of noise images with {whose} ({noise:.3g})"
    if USUAL_SCALE[0] <= ratio <= USUAL_SCALE[1]:
        return line
    cause = (
        "a batch that the network has learned, or a step that was not divided by its learning rate"
        if ratio < 1
        else "a sum where the mean over the batch belongs, or weights that are not those before the update"
    )
    return f"check {line}; {cause}"


def _on_loss(leak: Leak, victim: Victim) -> Iterator[str]:
    """Over the classes, probabilities and true labels sum to one each: so the gradient's sum is zero."""
    try:
        gradient = _classifier_gradient(leak, victim)
    except NoClassifierError:
        return
    balance = float(gradient.sum(dim=0).norm() / gradient.norm().clamp_min(torch.finfo(gradient.dtype).tiny))
    if balance <= BALANCED:
        yield "loss: the classifier's gradient sums to zero over the classes, as cross-entropy leaves it"
    else:
        yield (
            f"check loss: the classifier's gradient sums to {balance:.2g} of its norm over the classes, and to zero "
            "with plain cross-entropy; another loss, weight decay, noise, pruning or several steps"
        )


def _on_observations(leak: Leak, victim: Victim) -> Iterator[str]:
    """How far the network has moved when each further update is taken; from the same state it tells nothing new."""
    length = _norm(parameter.detach() for parameter in victim.parameters)
    for number, later in enumerate(leak.later, start=2):
        before = victim.named_parameters.items()
        moved = _norm(later.state[name] - parameter.detach() for name, parameter in before) / length
        line = f"observation {number}: from weights that differ by {moved:.2g} of their norm from the first ones"
        yield line if moved else f"check {line}; only noise of its own could make it tell more than the first"


def _classifier_gradient(leak: Leak, victim: Victim) -> Tensor:
    """The gradient of the classifier's weight, (classes, features)."""
    gradients = create_update(leak.threat_model.update).as_gradient(leak.gradients, leak.batch_size)
    return gradients[victim.classifier_weight(leak.image_shape)].flatten(1)


def _norm(values: Iterable[Tensor]) -> float:
    return float(torch.stack([value.norm() for value in values]).norm())


def _listed(labels: Tensor) -> str:
    shown = ", ".join(map(str, labels[:SHOWN_LABELS].tolist()))
    return shown + ", ..." * (len(labels) > SHOWN_LABELS)
