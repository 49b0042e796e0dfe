"""SPEAR: among all factors of the weights' gradient only that of a ReLU layer's outputs is sparse."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from gradinv.attacks.attack import Conditions
from gradinv.attacks.exact.closed_form import ClosedForm, partial_result
from gradinv.attacks.exact.first_layer import (
    FirstLayer,
    cut_at,
    find_first_layer,
    is_rectified,
    reason_of_mixing,
    reason_without_first_layer,
)
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.registry import Paper, register_attack
from gradinv.attacks.victim import Victim

DIMITROV_2024 = Paper(
    title="SPEAR: Exact Gradient Inversion of Batches in Federated Learning",
    authors="Dimitar I. Dimitrov, Maximilian Baader, Mark Niklas Müller, Martin Vechev",
    venue="NeurIPS 2024",
    year=2024,
    url="https://arxiv.org/abs/2403.03945",
)
CHUNK = 4096
"""Submatrices of one round; after each the check decides whether it is the last."""
ROUNDING = 8.0
"""Times the precision and the root of the longer side, relative to the largest: singular values below are zero."""


class Precision(NamedTuple):
    """What rounding leaves of an equality, relative: of a zero, of a dead neuron, of two directions.

    `pattern` is the share of neurons in which the forward pass must agree with the gradient.
    """

    zero: float
    dead: float
    same: float
    pattern: float


PRECISIONS = {
    torch.float64: Precision(zero=1e-6, dead=1e-9, same=1e-4, pattern=1.0),
    torch.float32: Precision(zero=3e-5, dead=1e-5, same=3e-2, pattern=0.985),
}


@dataclass(frozen=True)
class Solved:
    """Images (r, n), the gradient of the layer's outputs that each gives (r, m), the share of neurons that agree."""

    images: Tensor
    gradients: Tensor
    agreement: Tensor


@register_attack(
    "spear",
    paper=DIMITROV_2024,
    exact=True,
    letter="B",
    needs="a fully connected layer with a bias and ReLU on the pixels; few images; no batch norm in train mode",
)
class Spear(ClosedForm):
    """dL/dW = dL/dZ X^T has the rank of the batch, and of its factors only dL/dZ is sparse (Theorems 3.1, 3.2, Alg. 1).

    With dL/dW = L R by singular values, a column of dL/dZ is L q for a q that is orthogonal to every row of L where it
    is zero: r - 1 rows drawn at random give a q, and it is a column's where L q has zeros in many more rows. The
    directions with most zeros that are independent are taken; the bias gradient scales them; X follows. An image is
    certified where its forward pass is active in exactly those neurons where its column is not zero. Neither the batch
    size nor the labels nor the factor of a clipped update is needed; labels are told from the columns. Rows of L that
    are zero for every image say nothing and are left out. `submatrices` is the most that are drawn: what is needed
    grows as a power of the batch size. In single precision only a batch of which every image passes is certified.
    """

    most_evaluations = 0

    def __init__(self, *, submatrices: Annotated[int, Field(ge=1)] = 200_000) -> None:
        self.submatrices = submatrices

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """No such layer, no ReLU behind it, fewer neurons than images, or images that are not passed one by one."""
        reason = (
            reason_of_mixing(conditions) or super().reason_to_skip(conditions) or reason_without_first_layer(conditions)
        )
        if reason or conditions.network is None:
            return reason
        shape = conditions.image_shape
        layer = find_first_layer(conditions.network, shape)
        if not is_rectified(conditions.network, layer, shape):
            return "no ReLU follows the first fully connected layer, whose gradient is then not sparse"
        if layer.module.out_features <= conditions.batch_size:
            return f"{layer.module.out_features} neurons tell fewer images than {conditions.batch_size}"
        return None

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Draw submatrices until the check holds for every image; nothing where the update has another rank."""
        victim.require_fit(leak)
        layer = find_first_layer(victim.module, leak.image_shape)
        solved, note = self._solved(leak, layer, seed)
        if solved is None:
            return partial_result(
                leak, [], [], label_method="inferred:spear", certified=[], evaluations=0, notes=[note]
            )
        precision = PRECISIONS[leak.gradients[layer.weight].dtype]
        passed = solved.agreement >= precision.pattern
        images = solved.images[passed].to(leak.gradients[layer.weight])
        labels = likeliest_labels(leak, victim, layer, images, solved.gradients[passed])
        # In double precision a wrong direction fails some neuron; in single precision the check is loose, and
        # only that nothing of the batch is left over speaks for its images.
        proved = precision.pattern == 1 or (bool(passed.all()) and len(images) == leak.batch_size)
        notes = [note] if note else []
        return partial_result(
            leak,
            list(images),
            labels,
            label_method="inferred:spear",
            certified=[proved] * len(images),
            evaluations=0,
            notes=notes,
        )

    def _solved(self, leak: Leak, layer: FirstLayer, seed: int) -> tuple[Solved | None, str]:
        """What the directions of most zeros give, and what there is to say of it."""
        weight, bias = leak.gradients[layer.weight], leak.gradients[layer.bias]
        precision = PRECISIONS[weight.dtype]
        left, right = factors(weight)
        rank = len(right)
        if not 0 < rank <= leak.batch_size:
            return None, f"the first layer's gradient has rank {rank}, of {leak.batch_size} images it has no more"
        lengths = left.norm(dim=1, keepdim=True)
        # Unit rows make one threshold for "zero" serve all neurons, however strongly each of them is driven.
        rows = torch.where(lengths > precision.dead * lengths.max(), left / lengths, 0.0)
        live = rows.any(dim=1)
        generator = torch.Generator().manual_seed(seed)
        basis, solved = left.new_zeros(0, rank), None
        for start in range(0, self.submatrices, CHUNK):
            drawn = null_directions(rows[live], min(CHUNK, self.submatrices - start), generator)
            # The best so far compete with what was drawn now: memory stays that of one chunk, and no direction is lost.
            basis = sparsest_basis(torch.cat([basis, drawn]), rows[live], precision)
            if len(basis) == rank:
                solved = _solved_by(basis, rows, left, right, bias.double(), layer.module, precision)
                if bool((solved.agreement >= precision.pattern).all()):
                    break
        return solved, "" if rank == leak.batch_size else f"of {leak.batch_size} images {rank} can be told apart"


def factors(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """L (m, r) and R (r, n) with L R = the gradient (m, n), in double precision; r is its rank but for rounding.

    >>> left, right = factors(torch.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=torch.float64))
    >>> left.shape, right.shape
    (torch.Size([2, 1]), torch.Size([1, 2]))
    """
    left, values, right = torch.linalg.svd(gradient.double(), full_matrices=False)
    # The error of a sum of n rounded terms grows like the square root of n, not like n.
    limit = ROUNDING * torch.finfo(gradient.dtype).eps * max(gradient.shape) ** 0.5
    rank = int((values > limit * values[0]).sum())
    return left[:, :rank] * values[:rank], right[:rank]


def null_directions(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(count, r): unit directions, each orthogonal to r - 1 of the rows (m, r), drawn at random."""
    rank = rows.shape[1]
    if rank == 1:
        return rows.new_ones(1, 1)
    # Rows may repeat: the direction is then free in one dimension more, and hardly ever sparse enough to be taken.
    drawn = torch.randint(len(rows), (count, rank - 1), generator=generator).to(rows.device)
    # The last column of a complete QR is orthogonal to all r - 1 rows: a batched null space without an SVD each.
    complete, _ = torch.linalg.qr(rows[drawn].transpose(1, 2), mode="complete")
    return complete[:, :, -1]


def sparsest_basis(directions: Tensor, rows: Tensor, precision: Precision) -> Tensor:
    """(K, r): independent directions that are orthogonal to most of the unit rows (m, r), greedily; K at most r.

    Greed is right: a combination of columns is zero only where all of them are, or by accident, so that the columns
    are the basis of most zeros. Each is fitted to all rows that it is orthogonal to, which averages their rounding.
    """
    counts = ((directions @ rows.T).abs() < precision.zero).sum(1)
    rank = rows.shape[1]
    order = counts.argsort(descending=True, stable=True)
    order = order[counts[order] > (2 * rank if rank > 1 else -1)]  # r - 1 are orthogonal to every direction drawn
    chosen: list[Tensor] = []
    spanned = rows.new_zeros(0, rank)
    for direction in directions[order]:
        if float(_outside(direction, spanned).norm()) < precision.same:
            continue
        fitted = _fitted(direction, rows, precision)
        rest = _outside(fitted, spanned)
        chosen.append(fitted)
        spanned = torch.cat([spanned, rest[None] / rest.norm()])
        if len(chosen) == rank:
            break
    return torch.stack(chosen) if chosen else spanned


def _outside(direction: Tensor, spanned: Tensor) -> Tensor:
    """What of a direction (r,) orthonormal rows (K, r) do not span."""
    return direction - spanned.T @ (spanned @ direction)


def _fitted(direction: Tensor, rows: Tensor, precision: Precision) -> Tensor:
    """The direction that is most nearly orthogonal to all rows that this one is orthogonal to."""
    orthogonal = rows[(rows @ direction).abs() < precision.zero]
    return torch.linalg.svd(orthogonal)[2][-1] if len(orthogonal) else direction


def _solved_by(
    basis: Tensor, rows: Tensor, left: Tensor, right: Tensor, bias: Tensor, layer: nn.Linear, precision: Precision
) -> Solved:
    """Images by directions (r, r): scales d solve L Q d = bias, and X^T = (Q diag d)^-1 R; and what the check says."""
    columns = left @ basis.T
    # A direction is known up to a factor; the bias gradient, the sum of the columns, fixes all factors at once.
    scales = torch.linalg.lstsq(columns, bias[:, None]).solution[:, 0]
    images = torch.linalg.lstsq(basis.T * scales, right).solution
    # The forward pass was not used to solve: that its ReLUs fire where the columns are not zero is evidence of its own.
    active = layer(images.to(layer.weight)) > 0
    gradients = (rows @ basis.T).abs().T
    return Solved(images, (columns * scales).T, (active == (gradients > precision.zero)).double().mean(1))


def likeliest_labels(leak: Leak, victim: Victim, layer: FirstLayer, images: Tensor, gradients: Tensor) -> list[int]:
    """Of images (K, n) the labels with which they give the layer's outputs gradients most like these (K, m)."""
    if not len(images):
        return []
    with cut_at(layer, victim.module, images.view(-1, *leak.image_shape)) as (outputs, logits):
        # The loss of every image for every label at once; images do not meet, so one backward serves a whole column.
        losses = -logits.log_softmax(1)
        likeness = [
            torch.cosine_similarity(
                torch.autograd.grad(loss.sum(), outputs, retain_graph=True)[0].double(), gradients, dim=1
            )
            for loss in losses.T
        ]
    return [int(label) for label in torch.stack(likeness, 1).argmax(1)]
