"""The cocktail party attack: a first layer's weight gradients are mixtures of the images, and are separated blindly."""

import math
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from gradinv.attacks.attack import Attack, Conditions
from gradinv.attacks.exact.closed_form import reason_of_update
from gradinv.attacks.exact.first_layer import find_first_layer, reason_without_first_layer
from gradinv.attacks.leak import Leak, Reconstruction
from gradinv.attacks.registry import Paper, register_attack
from gradinv.attacks.victim import Victim

KARIYAPPA_2023 = Paper(
    title="Cocktail Party Attack: Breaking Aggregation-Based Privacy in Federated Learning using Independent "
    "Component Analysis",
    authors="Sanjay Kariyappa, Chuan Guo, Kiwan Maeng, Wenjie Xiong, G. Edward Suh, Moinuddin K. Qureshi, "
    "Hsien-Hsin S. Lee",
    venue="ICML 2023",
    year=2023,
    url="https://arxiv.org/abs/2209.05578",
)
GAUSSIAN = 0.374567207491438
"""E[log cosh v] of a standard normal v."""
SHARPNESS = 12.4
"""T of the decorrelation, from the paper's settings for Tiny ImageNet."""
WITHOUT_GRADIENTS = "separates sources, and evaluates no gradient of a candidate"


class Weights(NamedTuple):
    """Weights of the terms: negentropy, decorrelation, total variation."""

    negentropy: float
    decorrelation: float
    tv: float


@register_attack(
    "cocktail_party",
    paper=KARIYAPPA_2023,
    exact=False,
    letter="B",
    needs="a fully connected layer with a bias on the pixels",
)
class CocktailParty(Attack):
    """Independent component analysis of dL/dW = A X, whose rows are mixtures of the images X (section 4).

    The rows are centred and whitened to as many components as the batch has images; unit directions are found whose
    projections have most negentropy, are least alike, and are smooth as images, by Adam. Needs no ReLU and nothing of
    the layers behind. What independent components leave open, each image's sign, contrast and brightness, follows from
    the bias gradient and the rows' means by least squares: the paper chooses the sign by the original. Default weights
    were chosen on tuning images of CIFAR-10; labels are not inferred.
    """

    def __init__(
        self,
        *,
        alpha_negentropy: Annotated[float, Field(ge=0)] = 1.0,
        alpha_decorrelation: Annotated[float, Field(ge=0)] = 2.5e-4,
        alpha_tv: Annotated[float, Field(ge=0)] = 7.75e-3,
        lr: Annotated[float, Field(gt=0)] = 0.02,
        iterations: Annotated[int, Field(ge=1)] = 400,
    ) -> None:
        self.weights = Weights(alpha_negentropy, alpha_decorrelation, alpha_tv)
        self.lr, self.iterations = lr, iterations

    def evaluations(self, budget: int | None) -> int:
        """None: it never asks what a client would send for a candidate."""
        return 0

    def reason_to_skip(self, conditions: Conditions) -> str | None:
        """No such layer, or no gradient."""
        return reason_of_update(conditions) or reason_without_first_layer(conditions)

    def reconstruct(self, leak: Leak, victim: Victim, *, seed: int, budget: int | None = None) -> Reconstruction:
        """Separate, then give each source its sign, contrast and brightness."""
        victim.require_fit(leak)
        layer = find_first_layer(victim.module, leak.image_shape)
        rows, biases = leak.gradients[layer.weight].double(), leak.gradients[layer.bias].double()
        whitened = whiten(rows, leak.batch_size)
        directions, values = self._separate(whitened, leak.image_shape, seed)
        images = scaled(unit(directions) @ whitened, rows, biases)
        slots = torch.zeros(leak.batch_size, images.shape[1], dtype=torch.float64, device=images.device)
        # A layer of fewer neurons than images has fewer components; slots without one stay at zero, the mean image.
        slots[: len(images)] = images
        result = slots.view(leak.shape).to(leak.gradients[layer.weight])
        labels = result.new_empty(0, dtype=torch.int64).cpu() if leak.labels is None else leak.labels
        return Reconstruction(
            images=result,
            final=result.clone(),
            labels=labels,
            label_method="" if leak.labels is None else "given",
            objective_start=values[0],
            objective_end=values[-1],
            stopped=WITHOUT_GRADIENTS,
        )

    def _separate(self, whitened: Tensor, image_shape: tuple[int, int, int], seed: int) -> tuple[Tensor, list[float]]:
        """The directions (K, K) after all iterations from a random rotation, and the objective's values."""
        generator = torch.Generator().manual_seed(seed)
        # A rotation: white data have no direction of their own, and rows that start parallel find one source twice.
        start = torch.randn(len(whitened), len(whitened), generator=generator, dtype=torch.float64)
        directions = torch.linalg.qr(start)[0].to(whitened.device).requires_grad_(True)
        optimizer = torch.optim.Adam([directions], lr=self.lr)
        values = []
        for _ in range(self.iterations):
            optimizer.zero_grad()
            loss = objective(directions, whitened, image_shape, self.weights)
            loss.backward()
            values.append(loss.item())
            optimizer.step()
        return directions.detach(), values


def whiten(rows: Tensor, components: int) -> Tensor:
    """(K, n): uncorrelated mixtures of mean 0 and variance 1 of rows (m, n), K at most `components`."""
    # Independence says nothing of a mean, which would be the strongest component of all.
    centred = rows - rows.mean(1, keepdim=True)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh[:components]
    return math.sqrt(rows.shape[1]) * directions


def unit(directions: Tensor) -> Tensor:
    """The rows at length 1."""
    return directions / directions.norm(dim=1, keepdim=True)


def negentropy(sources: Tensor) -> Tensor:
    """(K,): how far sources (K, n) of variance 1 are from a normal v: (E log cosh s - E log cosh v)^2."""
    # log cosh s without overflow.
    log_cosh = sources.abs() + torch.nn.functional.softplus(-2 * sources.abs()) - math.log(2)
    return (log_cosh.mean(1) - GAUSSIAN).square()


def objective(directions: Tensor, whitened: Tensor, image_shape: tuple[int, int, int], weights: Weights) -> Tensor:
    """What is minimised over directions (K, K): little negentropy, likeness of directions, roughness of the images."""
    rows = unit(directions)
    sources = rows @ whitened
    images = sources.view(len(sources), *image_shape)
    tv = images.diff(dim=-1).abs().mean() + images.diff(dim=-2).abs().mean()
    loss = weights.tv * tv - weights.negentropy * negentropy(sources).mean()
    apart = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    if bool(apart.any()):
        # Exponential, so that directions may be somewhat alike (images are) and never the same.
        loss = loss + weights.decorrelation * torch.expm1(SHARPNESS * (rows @ rows.T)[apart].abs()).mean()
    return loss


def scaled(sources: Tensor, rows: Tensor, biases: Tensor) -> Tensor:
    """The images (K, n) of which sources (K, n) are the standardised forms, by gradients (m, n) and (m,).

    Row j is the sum over the images of c_ji x_i, with c_ji the same numbers whose sum is bias j. With x_i = s_i S_i +
    t_i the sources' coefficients are c_ji s_i: they sum to the biases when divided by s_i, and to the rows' means when
    multiplied by t_i / s_i.
    """
    means = rows.mean(1)
    coefficients = torch.linalg.lstsq(sources.T, (rows - means[:, None]).T).solution.T
    both = torch.linalg.lstsq(coefficients, torch.stack([biases, means], 1)).solution
    inverse, brightness = both[:, :1], both[:, 1:]
    # Never by zero, since 0 / 0 is no number.
    smallest = torch.finfo(inverse.dtype).tiny
    return (sources + brightness) / torch.where(inverse.abs() > smallest, inverse, smallest)
