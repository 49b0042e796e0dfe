"""R-GAP: from the linear layer back to the image, one linear system of equations a convolution."""

from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from scipy.optimize import brentq
from torch import Tensor, nn

from gradinv.attacks.attack import Conditions
from gradinv.attacks.exact.chain import INVERSES, Chain, Convolution, NoChainError, find_chain
from gradinv.attacks.exact.closed_form import ClosedForm, agreement, partial_result
from gradinv.attacks.exact.ratio import TOLERANCE, quotient
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.registry import Paper, register_attack
from gradinv.attacks.victim import Victim

ZHU_2021 = Paper(
    title="R-GAP: Recursive Gradient Attack on Privacy",
    authors="Junyi Zhu, Matthew Blaschko",
    venue="ICLR 2021",
    year=2021,
    url="https://arxiv.org/abs/2010.07733",
)
MOST_ROOTS = 4
SCALES = torch.logspace(-6, 6, 2_000, dtype=torch.float64)
"""Lengths of the features among which changes of sign are looked for."""
CHUNK = 128


@register_attack(
    "r_gap",
    paper=ZHU_2021,
    exact=True,
    letter="B",
    needs="one image; a chain of convolutions and invertible activations under one linear layer",
)
class RGap(ClosedForm):
    """Recursive closed form: each layer's input solves what its output and its weights' gradient say (section 3).

    The linear layer gives its features: by the ratio where it has a bias, else up to their length, which the softmax's
    equations tell. Then for each convolution, from the top, two systems are stacked: the convolution of the input is
    what the inverted activation says, and its correlation with the output's gradient is the weights' gradient. Where
    they are fewer than the unknowns there is no unique answer, and the attack is skipped; the rank that they had in the
    weakest layer, the paper's security index, stands in the notes. Of several roots the one is taken whose update is
    nearest to the observed one. Singular directions below `cutoff` are left out.
    """

    most_evaluations = MOST_ROOTS

    def __init__(self, *, cutoff: Annotated[float, Field(gt=0, lt=1)] = 1e-12) -> None:
        self.cutoff = cutoff

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """More than one image, layers that cannot be walked back, or too few equations."""
        if conditions.batch_size > 1:
            return "the equations are of one image; of several it finds a combination"
        reason = super().reason_to_skip(conditions)
        if reason or conditions.network is None:
            return reason
        try:
            chain = find_chain(conditions.network, conditions.image_shape)
        except NoChainError as error:
            return str(error)
        return _too_few(chain)

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Walk back from every root, keep what agrees best; nothing is drawn at random."""
        victim.require_fit(leak)
        chain = find_chain(victim.module, leak.image_shape)
        observed = [leak.gradients[name] for name in victim.parameter_names]
        tries = []
        for features, error, label in head_inputs(chain, leak)[: self.evaluations(budget)]:
            image, index = self._walk_back(chain, leak, features, error)
            image = image.to(victim.parameters[0])
            candidate = victim.update(image[None], torch.tensor([label], device=image.device))
            tries.append((agreement(observed, [value.detach() for value in candidate]), image, label, index))
        if not tries:
            return partial_result(leak, [], [], label_method="", certified=[], evaluations=0, notes=[_NO_ROOT])
        distance, image, label, index = min(tries, key=lambda attempt: attempt[0])
        # Without full rank other images have the very same update: that it is met proves nothing.
        proved = distance < TOLERANCE[image.dtype] and index.is_full
        return partial_result(
            leak,
            [image],
            [label],
            label_method="inferred:r_gap",
            certified=[proved],
            evaluations=len(tries),
            notes=[str(index)],
        )

    def _walk_back(self, chain: Chain, leak: Leak, features: Tensor, error: Tensor) -> tuple[Tensor, "SecurityIndex"]:
        """The image (C, H, W) from the head's input and its output's gradient, and the weakest layer's rank."""
        output, gradient = features, chain.head.weight.detach().double().T @ error
        indices = []
        for convolution, activations in reversed(chain.convolutions):
            for activation in reversed(activations):
                output, slope = INVERSES[type(activation)](activation, output)
                gradient = gradient * slope
            output, rank = solved_input(convolution, output, gradient, leak.gradients[convolution.weight], self.cutoff)
            indices.append(SecurityIndex(rank, convolution.unknowns, convolution.weight))
            gradient = _back(convolution, gradient).flatten()
        # The weakest layer bounds what can be known of the image, however well the others are determined.
        return output.view(leak.image_shape), min(indices, key=lambda index: index.rank / index.unknowns)


class SecurityIndex(NamedTuple):
    """The rank of a layer's equations beside its unknowns (section 4): below them the image is not determined."""

    rank: int
    unknowns: int
    layer: str

    @property
    def is_full(self) -> bool:
        """Whether the equations have one solution."""
        return self.rank == self.unknowns

    def __str__(self) -> str:
        warning = "" if self.is_full else ", no unique solution"
        return f"security index: rank {self.rank} of {self.unknowns} at {self.layer}{warning}"


_NO_ROOT = "the linear layer's equations have no root: the gradient is none of one image"


def _too_few(chain: Chain) -> str | None:
    for convolution, _ in chain.convolutions:
        if convolution.equations < convolution.unknowns:
            few = f"{convolution.equations} equations for {convolution.unknowns} unknowns"
            return f"no unique solution: {convolution.weight} gives {few}"
    return None


def head_inputs(chain: Chain, leak: Leak) -> list[tuple[Tensor, Tensor, int]]:
    """Possible (features (F,), gradient of the logits (classes,), label), the likeliest first, in double precision."""
    weight_gradient = leak.gradients[chain.head_weight].double()
    weight = chain.head.weight.detach().double()
    if chain.head_bias:
        error = leak.gradients[chain.head_bias].double()
        features = quotient(weight_gradient, error, 1)
        return [] if features is None else [(features, error, int(error.argmin()))]
    # Of one image it is errors times features, of rank one: it tells both but for their lengths and a common sign.
    left, values, right = torch.linalg.svd(weight_gradient, full_matrices=False)
    roots = []
    for sign in (1.0, -1.0):
        errors, direction = sign * float(values[0]) * left[:, 0], sign * right[0]
        # Only the true class has a negative entry: of two classes both signs are possible.
        if int((errors < 0).sum()) == 1:
            label = int(errors.argmin())
            for residual, length in _lengths(weight @ direction, errors):
                roots.append((residual, (length * direction, errors / length, label)))
    return [root for _, root in sorted(roots, key=lambda root: root[0])[:MOST_ROOTS]]


def _lengths(logits: Tensor, errors: Tensor) -> list[tuple[float, float]]:
    """(residual, length) of every length with softmax(length logits) - onehot = errors / length in the true class."""
    label = int(errors.argmin())
    onehot = torch.zeros_like(logits)
    onehot[label] = 1

    def rest(lengths: Tensor) -> Tensor:
        return (lengths[:, None] * logits).softmax(-1) - onehot - errors / lengths[:, None]

    def rest_of(length: float) -> Tensor:
        return rest(logits.new_tensor([length]))[0]

    along = rest(SCALES.to(logits))[:, label]
    changes = (along[:-1].sign() != along[1:].sign()).nonzero().flatten().tolist()
    roots = []
    # A sign change on the grid holds a root; the true class alone is searched, the others decide between roots below.
    for index in changes:
        low, high = float(SCALES[index]), float(SCALES[index + 1])
        # To a relative accuracy, about the finest that SciPy takes: an absolute one would not suit both 1e-6 and 1e6.
        length = float(brentq(lambda value: float(rest_of(value)[label]), low, high, xtol=1e-300, rtol=1e-15))
        roots.append((float(rest_of(length).norm()), length))
    return roots


def solved_input(
    convolution: Convolution, output: Tensor, gradient: Tensor, weight_gradient: Tensor, cutoff: float
) -> tuple[Tensor, int]:
    """The flattened input that gives this output and, with this gradient of it, these weights' gradient; and the rank.

    `output` and `gradient` are flattened, in double precision; least squares, of least norm where it is not unique.
    """
    layer, shape = convolution.module, convolution.input_shape
    assert not isinstance(layer.padding, str)  # find_chain takes none with a name for it
    weight = layer.weight.detach().double()
    channels = weight.shape[0]
    bias = 0 if layer.bias is None else layer.bias.detach().double()[:, None]
    known = (output.view(channels, -1) - bias).flatten()
    forward, backward = [], []
    # The linear maps' matrices by their effect on unit images: no index arithmetic of stride, padding and dilation.
    for units in torch.eye(convolution.unknowns, dtype=torch.float64, device=weight.device).split(CHUNK):
        images = units.view(-1, *shape)
        forward.append(_convolved(layer, images, weight).flatten(1))
        patches = nn.functional.unfold(images, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        backward.append(torch.einsum("ol,nql->noq", gradient.view(channels, -1), patches).flatten(1))
    blocks = [(torch.cat(forward).T, known), (torch.cat(backward).T, weight_gradient.double().flatten())]
    # Balanced, so that neither counts for nothing: gradients may be smaller than weights by orders of magnitude.
    scales = [1 / matrix.norm().clamp_min(torch.finfo(torch.float64).tiny) for matrix, _ in blocks]
    matrix = torch.cat([part * scale for (part, _), scale in zip(blocks, scales, strict=True)])
    right = torch.cat([part * scale for (_, part), scale in zip(blocks, scales, strict=True)])
    result = torch.linalg.lstsq(matrix.cpu(), right.cpu()[:, None], rcond=cutoff, driver="gelsy")
    return result.solution[:, 0].to(matrix.device), int(result.rank)


def _convolved(layer: nn.Conv2d, images: Tensor, weight: Tensor) -> Tensor:
    return nn.functional.conv2d(images, weight, None, layer.stride, layer.padding, layer.dilation)


def _back(convolution: Convolution, gradient: Tensor) -> Tensor:
    """The gradient of the input (1, C, H, W) from that of the output."""
    layer, weight = convolution.module, convolution.module.weight.detach().double()
    # The derivative of what is linear is the same everywhere, hence at zeros.
    zeros = torch.zeros(1, *convolution.input_shape, dtype=torch.float64, device=weight.device, requires_grad=True)
    with torch.enable_grad():
        outputs = _convolved(layer, zeros, weight)
    (result,) = torch.autograd.grad(outputs, zeros, gradient.view_as(outputs))
    return result
