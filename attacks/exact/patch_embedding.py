"""The patch embedding: where positions are learnt, its gradient tells every patch of one image by one solve."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import fold

from gradinv.attacks.exact.april import HOLDS, LU_2022, RANK
from gradinv.attacks.exact.closed_form import NoEquationError, OneImageOfPositions, least_squares, proved_result
from gradinv.attacks.exact.layer_calls import layer_calls
from gradinv.attacks.exact.ratio import TOLERANCE
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.registry import register_attack
from gradinv.attacks.victim import Victim


@dataclass(frozen=True)
class PatchEmbedding:
    """The convolution that cuts the pixels into patches, the names of its weight and of the positions added to it."""

    convolution: nn.Conv2d
    weight: str
    positions: str


@register_attack(
    "patch_embedding",
    paper=LU_2022,
    exact=True,
    letter="B",
    needs="one image; a transformer that adds learnt positions to patches of the pixels",
)
class PatchEmbeddingSolve(OneImageOfPositions):
    """dL/dW = sum over the patches of dL/dtoken patch^T, where dL/dtoken = dL/dpositions: solved for the patches.

    That the gradient of learnt positions is that of the tokens is Lu et al. (2022); the patch embedding is a linear
    layer, whose gradient is such a sum. Put together they need nothing of what follows, neither the bare attention of
    `april` nor its double precision, and hold for the vision transformers of timm as they are, whatever the loss and
    under any clipping. One solution needs as many independent gradients as there are patches: at most the width, which
    is where large images of small patches are skipped. Patches that overlap are averaged. Singular values below
    `cutoff` times what rounding makes of a zero are taken for zero. Certified where the update of the image found is a
    multiple of the observed one to rounding.
    """

    def require_equation(self, network: nn.Module, image_shape: tuple[int, int, int]) -> object:
        """As `find_patch_embedding`."""
        return find_patch_embedding(network, image_shape)

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Solve, then compare the update of the result for the certificate; nothing is drawn at random."""
        victim.require_fit(leak)
        embedding = find_patch_embedding(victim.module, leak.image_shape)
        sent = leak.gradients[embedding.weight]
        rounding = self.cutoff * torch.finfo(sent.dtype).eps
        image = solved(embedding.convolution, sent, leak.gradients[embedding.positions], leak.image_shape, rounding)
        image = image.to(victim.parameters[0])
        return proved_result(leak, victim, image, TOLERANCE[image.dtype])


def solved(
    convolution: nn.Conv2d, weight: Tensor, positions: Tensor, image_shape: tuple[int, int, int], rounding: float
) -> Tensor:
    """The image (C, H, W), in double precision, of the gradients of the patch embedding's weight and of the positions.

    `rounding` is that of a number of what was sent, relative.
    """
    tokens = _of_patches(positions.double(), _grid(convolution, image_shape), len(weight))
    patches = least_squares(tokens.T, weight.double().flatten(1), rounding)
    return _assembled(patches, convolution, image_shape) / _coverage(convolution, image_shape).to(patches)


def find_patch_embedding(network: nn.Module, image_shape: tuple[int, int, int]) -> PatchEmbedding:
    """Where the equation holds for images (C, H, W); NoEquationError with the reason elsewhere.

    Tried in double precision on a random image, whose gradients are known: nothing is said by names.
    """
    network = copy.deepcopy(network).double()
    image = torch.rand(1, *image_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    image = image.to(next(network.parameters()).device)
    convolution = _first_convolution(network, image)
    if not bool((_coverage(convolution, image_shape) > 0).all()):
        raise NoEquationError("some pixels are seen by no patch, and nothing is known of them")
    parameters = {name: value for name, value in network.named_parameters() if value.requires_grad}
    weight = next((name for name, value in parameters.items() if value is convolution.weight), None)
    if weight is None:
        raise NoEquationError("the patch embedding is frozen, and its gradient is not sent")
    of_tokens, gradients = _gradients(network, convolution, image, parameters)
    positions = _positions(of_tokens, gradients, _grid(convolution, image_shape))
    if positions is None:
        raise NoEquationError("no trained parameter is added to the patches, as learnt positions are")
    values = torch.linalg.svdvals(of_tokens)
    rank, patches = int((values > RANK * values[0]).sum()), len(of_tokens)
    if rank < patches:
        raise NoEquationError(f"the positions' gradient has rank {rank} for {patches} patches: no unique solution")
    return PatchEmbedding(convolution, weight, positions)


def _first_convolution(network: nn.Module, image: Tensor) -> nn.Conv2d:
    calls = layer_calls(network, image)[0]
    layer, inputs, _ = calls[0] if calls else (None, image, image)
    if not isinstance(layer, nn.Conv2d) or inputs.shape != image.shape or not torch.equal(inputs, image):
        begins = type(layer).__name__ if layer is not None else "nothing of the kind"
        raise NoEquationError(f"needs a patch embedding of the pixels; the network begins with {begins}")
    if layer.groups > 1 or isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise NoEquationError("the first convolution is grouped or pads otherwise than by zeros")
    return layer


def _gradients(
    network: nn.Module, convolution: nn.Conv2d, image: Tensor, parameters: dict[str, nn.Parameter]
) -> tuple[Tensor, dict[str, Tensor]]:
    """dL/dtoken (patches, width) at the convolution's output, and of every parameter, for an arbitrary label."""
    outputs: list[Tensor] = []
    handle = convolution.register_forward_hook(lambda *call: outputs.append(call[2]))
    try:
        loss = nn.functional.cross_entropy(network(image), torch.tensor([0], device=image.device))
    finally:
        handle.remove()
    gradients = torch.autograd.grad(loss, [*outputs, *parameters.values()], materialize_grads=True)
    return gradients[0].flatten(2)[0].T, dict(zip(parameters, gradients[len(outputs) :], strict=True))


def _positions(of_tokens: Tensor, gradients: dict[str, Tensor], grid: tuple[int, int]) -> str | None:
    """The parameter whose gradient is that of the tokens; None where there is none."""
    for name, gradient in gradients.items():
        of_positions = _of_patches(gradient, grid, of_tokens.shape[1])
        if of_positions.shape == of_tokens.shape and bool(
            (of_positions - of_tokens).norm() <= HOLDS * of_tokens.norm()
        ):
            return name
    return None


def _of_patches(positions: Tensor, grid: tuple[int, int], width: int) -> Tensor:
    """Positions, or their gradient, as (patches, width); empty where they are not laid out as such.

    As timm has them: (1, tokens, width) with class tokens before the patches, (1, width, rows, columns), or
    (1, rows, columns, width).
    """
    count = grid[0] * grid[1]
    if positions.shape == (1, width, *grid):
        return positions.flatten(2)[0].T
    if positions.shape == (1, *grid, width):
        return positions.reshape(count, width)
    if positions.ndim == 3 and len(positions) == 1 and positions.shape[1] >= count and positions.shape[2] == width:
        return positions[0, -count:]
    return positions.new_empty(0)


def _grid(convolution: nn.Conv2d, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Rows and columns of patches."""
    rows, columns = (
        (side + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        for side, pad, dilation, kernel, stride in zip(
            image_shape[1:],
            _padding(convolution),
            convolution.dilation,
            convolution.kernel_size,
            convolution.stride,
            strict=True,
        )
    )
    return rows, columns


def _padding(convolution: nn.Conv2d) -> tuple[int, int]:
    """Pixels of zeros on each side, above and beside."""
    above, beside = (int(pad) for pad in convolution.padding)
    return above, beside


def _assembled(patches: Tensor, convolution: nn.Conv2d, image_shape: tuple[int, int, int]) -> Tensor:
    """The sum (C, H, W) of patches (N, C k k) at their places."""
    return fold(
        patches.T[None],
        image_shape[1:],
        convolution.kernel_size,
        dilation=convolution.dilation,
        padding=_padding(convolution),
        stride=convolution.stride,
    )[0]


def _coverage(convolution: nn.Conv2d, image_shape: tuple[int, int, int]) -> Tensor:
    """In how many patches each pixel is, (C, H, W)."""
    rows, columns = _grid(convolution, image_shape)
    size = convolution.in_channels * convolution.kernel_size[0] * convolution.kernel_size[1]
    return _assembled(torch.ones(rows * columns, size), convolution, image_shape)
