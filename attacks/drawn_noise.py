"""What a client drew inside its network, found together with the images: the noise of a variational bottleneck."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from gradinv.attacks.transforms import BeforeTheUpdate, Seen, UnansweredError, register_transform

if TYPE_CHECKING:
    from gradinv.attacks.leak import Leak
    from gradinv.attacks.victim import Victim

IS_PRODUCT = 1e-4
"""Distance of a layer's gradients from those of one input, relative, up to which it is rounding's."""
MEAN_MAGNITUDE = math.sqrt(2 / math.pi)
"""Of a standard normal number: what to expect of one whose sign alone is known."""


@register_transform("drawn")
class Drawn(BeforeTheUpdate):
    """The noise (B, K) that the layer called `part` drew, in place of its mean.

    The layer is z = mu + scale softplus(s) noise, (mu, s) = E f. Of one image the noise is solved for and held: the
    gradient of E's weight is d f', that of its bias d = (d_mu, d_s), and d_s = d_mu noise scale sigmoid(s) leaves the
    noise as the only unknown. Where the two are no such product, since a defense perturbed what was sent or several
    steps are in it, the nearest product is taken for it, and the noise is what is to be expected given how far it is.
    Where signs alone are sent, those of d_s and d_mu tell the sign of every number, and the mean magnitude stands for
    it. Of more images only sums are sent: their noise starts at its mean, zero, and descends with the images; so does
    that of one image where it is not `held`.
    """

    secrets = 1

    def __init__(self, *, part: str = "bottleneck", held: bool = True) -> None:
        self.part, self.held = part, held
        self.layer = ""

    def bound(self, names: Sequence[str]) -> "Drawn":
        """The same for these parameters; UnansweredError where no layer is called so."""
        layers = [
            name.removesuffix(".encoder.weight") for name in names if name.endswith(f"{self.part}.encoder.weight")
        ]
        if not layers:
            raise UnansweredError(f"drawn[part={self.part}]: the victim has no bottleneck of that name")
        bound = Drawn(part=self.part, held=self.held)
        bound.layer = layers[0]
        return bound

    def start(self, leak: "Leak", victim: "Victim") -> list[Tensor]:
        """The noise that was drawn for one image, zeros for more."""
        buffer = victim.state[f"{self.layer}.noise"]
        zeros = buffer.new_zeros(leak.batch_size, buffer.shape[1])
        return [self._solved(leak, victim) if leak.batch_size == 1 else zeros]

    def _solved(self, leak: "Leak", victim: "Victim") -> Tensor:
        weight, bias = (leak.gradients[f"{self.layer}.encoder.{name}"] for name in ("weight", "bias"))
        if _is_signs(bias):
            along_mean, along_spread = bias.sign().chunk(2)
            return (MEAN_MAGNITUDE * along_mean * along_spread)[None]
        product = nearest_product(weight, bias)
        bottleneck: Any = victim.module.get_submodule(self.layer)
        with torch.no_grad():
            spread = bottleneck.encoder(product.features).chunk(2)[1]
        along_mean, along_spread = product.slopes.chunk(2)
        slope = along_mean * bottleneck.scale * spread.sigmoid()
        # The mean of a standard normal number given slope times it and an error: where the slope is lost in the error
        # it is zero, as a guess should be. Not so written without an error, where a small slope's square may be zero.
        error = product.error
        noise = along_spread * slope / (slope.square() + error**2) if error else along_spread / slope
        # An update that is not this network's solves for anything; no normal draw is beyond 6.
        return noise.nan_to_num(0.0).clamp(-6, 6)[None]

    def seen(self, images: Tensor, labels: Tensor, secrets: Sequence[Tensor]) -> Seen:
        """Images and labels as they are, and the noise."""
        # Moved along with the image, noise that is solved for would fit that image's errors.
        noise = secrets[0].detach() if self.held and len(images) == 1 else secrets[0]
        return Seen(images, labels, {f"{self.layer}.noise": noise})


def _is_signs(values: Tensor) -> bool:
    """Whether all that are not zero have one magnitude, so that nothing but their signs was sent."""
    magnitudes = values.abs()[values != 0]
    return bool(len(magnitudes) and (magnitudes == magnitudes[0]).all())


class Product(NamedTuple):
    """Slopes d (m,) and input f (n,) of a layer for one input, and the deviation of the errors of d, 0 for rounding."""

    slopes: Tensor
    features: Tensor
    error: float


def nearest_product(weight: Tensor, bias: Tensor) -> Product:
    """The product [d f', d] nearest to gradients (m, n) and (m,): the likeliest where all errors are normal and alike.

    >>> exact = nearest_product(torch.tensor([[2.0, 4.0], [1.0, 2.0]]), torch.tensor([2.0, 1.0]))
    >>> exact.slopes, exact.features, exact.error
    (tensor([2., 1.]), tensor([1., 2.]), 0.0)
    """
    left, sizes, right = torch.linalg.svd(torch.cat([weight, bias[:, None]], dim=1).double(), full_matrices=False)
    rest = float(sizes[1:].norm())
    if rest <= IS_PRODUCT * float(sizes[0]):
        # The ratio of `exact/ratio.py`: the row with the largest divisor, of which rounding is the smallest share.
        largest = bias.abs().argmax()
        return Product(bias, weight[largest] / bias[largest], 0.0)
    last = right[0, -1]
    # d is what was sent times the right factor, times that factor's last number: its errors are shortened alike. What
    # is left beside the product has m - 1 rows of n independent numbers.
    deviation = rest / math.sqrt(max(1, (len(bias) - 1) * weight.shape[1]))
    slopes, features = left[:, 0] * sizes[0] * last, right[0, :-1] / last
    return Product(slopes.to(bias), features.to(bias), deviation * abs(float(last)))
