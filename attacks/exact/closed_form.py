"""What exact attacks have in common: they spend what they need, leave the rest, and may leave slots open."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from gradinv.attacks.attack import Attack, Conditions
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.victim import Victim
from gradinv.metrics.keys import parse_key
from gradinv.metrics.records import CLOSED_FORM
from gradinv.metrics.registry import RequestError


class NoEquationError(RequestError):
    """A network that an exact attack's equation does not hold for; its text is the reason in one line."""


class ClosedForm(Attack):
    """Base class: `most_evaluations` is what the attack spends at most, whatever more is granted."""

    most_evaluations: int = 1_001  # every label of ImageNet, and the result

    def evaluations(self, budget: int | None) -> int:
        """What the closed form needs at most, or the budget where that is less."""
        return self.most_evaluations if budget is None else min(budget, self.most_evaluations)

    @property
    def fills_every_slot(self) -> bool:
        """Not always: what cannot be solved for is left open."""
        return False

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """Why the equations do not hold: they are those of one gradient."""
        return reason_of_update(conditions)


class OneImageOfPositions(ClosedForm):
    """Base class of what is solved from the gradient of learnt positions: one image, and a network with an equation.

    A subclass fills in `require_equation`. Singular values below `cutoff` times what rounding makes of a zero, in the
    precision that was sent, are taken for zero.
    """

    def __init__(self, *, cutoff: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0) -> None:
        self.cutoff = cutoff

    def require_equation(self, network: nn.Module, image_shape: tuple[int, int, int]) -> object:
        """Where the equation holds in a network for images (C, H, W); NoEquationError with the reason elsewhere."""
        raise TypeError(f"{type(self).__name__} has no require_equation method")

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """More than one image, a label that cannot be tried for, or a network without the equation."""
        if conditions.batch_size > 1:
            return "the equation is of one image; of several the positions' gradient is a sum"
        reason = super().reason_to_skip(conditions) or reason_of_labels(conditions)
        if reason or conditions.network is None:
            return reason
        try:
            self.require_equation(conditions.network, conditions.image_shape)
        except NoEquationError as error:
            return str(error)
        return None


def reason_of_update(conditions: Conditions) -> str | None:
    """Why what the client sends is no gradient of one batch; None where it is."""
    update = conditions.threat_model.update
    return None if parse_key(update).name == "gradient" else f"solves for what one gradient is of, not {update}"


def partial_result(
    leak: Leak,
    images: Sequence[Tensor],
    labels: Sequence[int],
    *,
    label_method: str,
    certified: Sequence[bool] | None,
    evaluations: int,
    notes: Sequence[str] = (),
) -> Reconstruction:
    """The result with these images, flattened or (C, H, W), in the first slots and the others left open.

    At most as many as the batch has. `labels` of the images found; open slots have the label -1, which is no class.
    """
    device = next(iter(leak.gradients.values())).device
    dtype = next(iter(leak.gradients.values())).dtype
    slots = torch.zeros(leak.shape, dtype=dtype, device=device)
    for slot, image in enumerate(images):
        slots[slot] = image.reshape(leak.image_shape)
    slot_labels = torch.full((leak.batch_size,), -1, dtype=torch.int64)
    slot_labels[: len(labels)] = torch.tensor(labels, dtype=torch.int64)
    return Reconstruction(
        images=slots,
        final=slots.clone(),
        labels=slot_labels,
        label_method=label_method,
        evaluations=evaluations,
        stopped=CLOSED_FORM,
        notes=tuple(notes),
        filled=torch.arange(leak.batch_size) < len(images),
        certified=None if certified is None else _padded(certified, leak.batch_size),
    )


def _padded(values: Sequence[bool], length: int) -> Tensor:
    padded = torch.zeros(length, dtype=torch.bool)
    padded[: len(values)] = torch.tensor(values, dtype=torch.bool)
    return padded


def reason_of_labels(conditions: Conditions) -> str | None:
    """Why the label of one image cannot be tried for within the budget; None where it can, or is granted."""
    needed, budget = conditions.num_classes + 1, conditions.budget
    if conditions.threat_model.labels != "none" or budget is None or budget >= needed:
        return None
    return f"to try every label and the result takes {needed} evaluations, the budget is {budget}; grant labels"


def likeliest_label(leak: Leak, victim: Victim, image: Tensor) -> tuple[int, str, int]:
    """Of one image the granted label, else the one whose update points where the observed does.

    With it, how it is known, and the evaluations that it took: one a class where all are tried.
    """
    if leak.labels is not None:
        return int(leak.labels[0]), "given", 0
    # One forward pass for all labels, whose losses differ in which of its outputs is taken.
    log_probabilities = victim.module(image.view(1, *leak.image_shape)).log_softmax(-1)[0]
    observed = [leak.gradients[name] for name in victim.parameter_names]
    distances = []
    for log_probability in log_probabilities:
        gradients = torch.autograd.grad(-log_probability, victim.parameters, retain_graph=True, materialize_grads=True)
        distances.append(agreement(observed, gradients))
    return min(range(len(distances)), key=distances.__getitem__), "inferred:update", len(distances)


def proved_result(leak: Leak, victim: Victim, image: Tensor, tolerance: float) -> Reconstruction:
    """The result of one image (C, H, W), with its label, certified where its update agrees with the observed one.

    `tolerance` is the relative distance (`agreement`) below which two updates are one. One evaluation, and one a label
    where all are tried.
    """
    label, method, spent = likeliest_label(leak, victim, image)
    candidate = victim.update(image[None], torch.tensor([label], device=image.device))
    observed = [leak.gradients[name] for name in victim.parameter_names]
    proved = agreement(observed, [value.detach() for value in candidate]) < tolerance
    return partial_result(leak, [image], [label], label_method=method, certified=[proved], evaluations=spent + 1)


def agreement(observed: Sequence[Tensor], candidate: Sequence[Tensor]) -> float:
    """Relative distance of the observed update to the nearest multiple of a candidate's, from 0; infinite for zeros.

    A multiple, because clipping scales an update by a factor that is not sent.

    >>> agreement([torch.tensor([3.0, 0.0])], [torch.tensor([1.0, 0.0])])
    0.0
    """
    pairs = list(zip(observed, candidate, strict=True))
    along, square, length = (
        torch.stack([part.double().sum() for part in parts]).sum()
        for parts in ([a * b for a, b in pairs], [b * b for _, b in pairs], [a * a for a, _ in pairs])
    )
    # Negated comparisons, so that what is not a number is no agreement either.
    if not bool(square > 0) or not bool(length > 0):
        return float("inf")
    factor = along / square
    rest = torch.stack([(a.double() - factor * b.double()).square().sum() for a, b in pairs]).sum()
    # No clipping turns an update round: a factor below zero is another update.
    return float((rest / length).sqrt()) if bool(factor > 0) else float("inf")


def least_squares(matrix: Tensor, right: Tensor, rounding: float) -> Tensor:
    """The shortest X with least ||matrix X - right||; singular values near zero, by `rounding`, are taken for zero.

    `rounding` is a number's relative error, which the matrix's longer side multiplies.

    >>> least_squares(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([[4.0], [1.0]]), 1e-7).flatten().tolist()
    [2.0, 0.0]
    """
    # By singular values, and on the CPU, which has the driver that takes matrices of any rank.
    cutoff = rounding * max(matrix.shape)
    solution = torch.linalg.lstsq(matrix.cpu(), right.cpu(), rcond=cutoff, driver="gelsd").solution
    return solution.to(matrix.device)
