"""APRIL: attention on bare embeddings tells the image by two solves, where positions are learnt."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gradinv.attacks.exact.closed_form import NoEquationError, OneImageOfPositions, least_squares, proved_result
from gradinv.attacks.exact.layer_calls import LayerCall, layer_calls
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.registry import Paper, register_attack
from gradinv.attacks.victim import Victim

LU_2022 = Paper(
    title="APRIL: Finding the Achilles' Heel on Privacy for Vision Transformers",
    authors="Jiahao Lu, Xi Sheryl Zhang, Tianli Zhao, Xiangyu He, Jian Cheng",
    venue="CVPR 2022",
    year=2022,
    url="https://arxiv.org/abs/2112.14087",
)
HOLDS = 1e-6
"""Relative error up to which the attention's equation holds on a trial image, in double precision."""
RANK = 1e-10
"""Singular values below this share of the largest are zero, in double precision."""


@dataclass(frozen=True)
class BareAttention:
    """Embeddings E = patches W^T + b + positions, and the projections that they go into and nothing else.

    `positions` and `projections` are names of parameters, `patches` the patch embedding.
    """

    positions: str
    projections: tuple[str, ...]
    patches: nn.Conv2d


@register_attack(
    "april",
    paper=LU_2022,
    exact=True,
    letter="B",
    needs="one image; a transformer whose first attention acts on the embeddings, without norm and without skip",
)
class April(OneImageOfPositions):
    """A^T E = sum of W^T dL/dW over queries, keys and values, where A = dL/dE = dL/dpositions (Lu et al. 2022, Eq. 11).

    E follows by least squares, the patches from E by a second one. It is an identity of one image, of attention without
    a normalisation before it and without a skip around it, and has one solution where A has the rank of its tokens:
    elsewhere the attack is skipped, as for every ViT that timm has. Double precision is needed: of a client in single
    precision little more than 20 dB come back. Singular values below `cutoff` times what rounding makes of a zero,
    in the precision that was sent, are taken for zero.
    """

    def require_equation(self, network: nn.Module, image_shape: tuple[int, int, int]) -> object:
        """As `find_bare_attention`."""
        return find_bare_attention(network, image_shape)

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Solve twice, then compare the update of the result for the certificate; nothing is drawn at random."""
        victim.require_fit(leak)
        attention = find_bare_attention(victim.module, leak.image_shape)
        state = {name: value.detach().double() for name, value in victim.named_parameters.items()}
        gradients = {name: leak.gradients[name].double() for name in (attention.positions, *attention.projections)}
        # Of the precision that was sent, though all is solved in double: the client's rounding is the data's noise.
        rounding = self.cutoff * torch.finfo(leak.gradients[attention.positions].dtype).eps
        image = solved(attention, state, gradients, leak.image_shape, rounding).to(victim.parameters[0])
        return proved_result(leak, victim, image, HOLDS)


def solved(
    attention: BareAttention,
    state: dict[str, Tensor],
    gradients: dict[str, Tensor],
    image_shape: tuple[int, int, int],
    rounding: float,
) -> Tensor:
    """The image (C, H, W) from gradients of positions and projections under this state, all in double precision.

    `rounding` is that of a number of what was sent, relative.
    """
    positions = state[attention.positions].squeeze(0)
    # W^T dL/dW = (dL/dz W)^T E: each projection's part of dL/dE, transposed, times E; the sum has all of dL/dE.
    sums = torch.stack([state[name].T @ gradients[name] for name in attention.projections]).sum(0)
    embeddings = least_squares(gradients[attention.positions].squeeze(0).T, sums, rounding)
    conv = attention.patches
    count = math.prod(side // kernel for side, kernel in zip(image_shape[1:], conv.kernel_size, strict=True))
    tokens = (embeddings - positions)[-count:]  # what stands before the patches is a class token
    weight = conv.weight.detach().double().flatten(1)
    bias = 0 if conv.bias is None else conv.bias.detach().double()
    patches = least_squares(weight, (tokens - bias).T, rounding)
    # Patches do not overlap, so that `fold`, which adds up what does, only puts them in their places.
    return nn.functional.fold(patches[None], image_shape[1:], conv.kernel_size, stride=conv.stride)[0]


def find_bare_attention(network: nn.Module, image_shape: tuple[int, int, int]) -> BareAttention:
    """Where the attention's equation holds for images (C, H, W); NoEquationError with the reason elsewhere.

    Tried in double precision on a random image, whose embeddings are known: nothing is said by names.
    """
    # In double precision, so that a difference is the network's and not rounding's; in a copy, since `double` converts
    # in place.
    network = copy.deepcopy(network).double()
    parameter = next(network.parameters())
    image = torch.rand(1, *image_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(parameter)
    kinds = (nn.Conv2d, nn.Linear, nn.LayerNorm, nn.GroupNorm)
    calls = [call for call in layer_calls(network, image)[0] if isinstance(call.layer, kinds)]
    conv, patches = _patches(calls, image)
    linear = [(layer, inputs) for layer, inputs, _ in calls if isinstance(layer, nn.Linear)]
    if not linear:
        raise NoEquationError("needs attention on the embeddings; the network has no fully connected layer")
    embeddings = linear[0][1]
    names = {id(value): name for name, value in network.named_parameters()}
    positions = _positions(network, embeddings, patches)
    if positions is None:
        raise NoEquationError(_why_not_bare(calls, embeddings))
    # Layers and not weights: the first ones, one after another, that see the embeddings themselves.
    projections = [
        layer for layer, inputs in linear if inputs.shape == embeddings.shape and torch.equal(inputs, embeddings)
    ]
    attention = BareAttention(names[id(positions)], tuple(names[id(layer.weight)] for layer in projections), conv)
    _require_equation(network, attention, image, embeddings)
    return attention


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first, second)


def _patches(calls: list[LayerCall], image: Tensor) -> tuple[nn.Conv2d, Tensor]:
    """The convolution that cuts the image into patches, and its output as tokens (1, N, D)."""
    layer, inputs, output = calls[0] if calls else (None, image, image)
    if not isinstance(layer, nn.Conv2d) or layer.kernel_size != layer.stride or not torch.equal(inputs, image):
        begins = type(layer).__name__ if layer is not None else "nothing of the kind"
        raise NoEquationError(f"needs a patch embedding of the pixels; the network begins with {begins}")
    return layer, output.flatten(2).transpose(1, 2)


def _positions(network: nn.Module, embeddings: Tensor, patches: Tensor) -> Tensor | None:
    """The parameter that makes patches into embeddings by being added; None where there is none."""
    count = patches.shape[1]
    for parameter in network.parameters():
        if parameter.shape == embeddings.shape and embeddings.ndim == 3:
            # The last tokens, for a class token stands before the patches and has positions of its own.
            difference = embeddings[:, -count:] - parameter.detach()[:, -count:] - patches
            if float(difference.abs().max()) < HOLDS:
                return parameter
    return None


def _why_not_bare(calls: list[LayerCall], embeddings: Tensor) -> str:
    norms = [layer for layer, _, output in calls if isinstance(layer, nn.LayerNorm | nn.GroupNorm)
             and _equal(output, embeddings)]  # fmt: skip
    if norms:
        return f"a {type(norms[0]).__name__} stands between the embeddings and the first attention"
    return "the first attention does not see patches plus learnt positions"


def _require_equation(network: nn.Module, attention: BareAttention, image: Tensor, embeddings: Tensor) -> None:
    """NoEquationError where A^T E is not the sum over the projections, or where A has too low a rank."""
    parameters = dict(network.named_parameters())
    wanted = [parameters[name] for name in (attention.positions, *attention.projections)]
    if not all(value.requires_grad for value in wanted):
        raise NoEquationError("the positions or the projections of the first attention are frozen and not sent")
    loss = nn.functional.cross_entropy(network(image), torch.tensor([0], device=image.device))
    positions, *weights = torch.autograd.grad(loss, wanted)
    flat = positions.squeeze(0)
    # Tried, and not deduced from the layers: a skip inside a `forward` leaves no trace among the modules.
    left = flat.T @ embeddings.squeeze(0)
    pairs = zip(attention.projections, weights, strict=True)
    right = torch.stack([parameters[name].detach().T @ gradient for name, gradient in pairs]).sum(0)
    if not bool((left - right).norm() <= HOLDS * right.norm()):
        raise NoEquationError("the embeddings reach the loss past the first attention, by a skip around it")
    values = torch.linalg.svdvals(flat)
    rank, tokens = int((values > RANK * values[0]).sum()), len(flat)
    if rank < tokens:
        raise NoEquationError(f"the positions' gradient has rank {rank} for {tokens} tokens: no unique solution")
