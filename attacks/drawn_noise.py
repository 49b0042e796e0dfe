"""What a client drew inside its network, found together with the images: the noise of a variational bottleneck."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradinv.attacks.transforms import BeforeTheUpdate, Seen, UnansweredError, register_transform

if TYPE_CHECKING:
    from gradinv.attacks.leak import Leak
    from gradinv.attacks.victim import Victim


@register_transform("drawn")
class Drawn(BeforeTheUpdate):
    """The noise (B, K) that the layer called `part` drew, in place of its mean.

    The layer is z = mu + scale softplus(s) noise, (mu, s) = E f. Of one image the noise is solved for and held: the
    gradient of E's weight is d f', that of its bias d = (d_mu, d_s), and d_s = d_mu noise scale sigmoid(s) leaves the
    noise as the only unknown. Of more images only sums are sent: their noise starts at its mean, zero, and descends
    with the images.
    """

    secrets = 1

    def __init__(self, *, part: str = "bottleneck") -> None:
        self.part = part
        self.layer = ""

    def bound(self, names: Sequence[str]) -> "Drawn":
        """The same for these parameters; UnansweredError where no layer is called so."""
        layers = [
            name.removesuffix(".encoder.weight") for name in names if name.endswith(f"{self.part}.encoder.weight")
        ]
        if not layers:
            raise UnansweredError(f"drawn[part={self.part}]: the victim has no bottleneck of that name")
        bound = Drawn(part=self.part)
        bound.layer = layers[0]
        return bound

    def start(self, leak: "Leak", victim: "Victim") -> list[Tensor]:
        """The noise that was drawn for one image, zeros for more."""
        buffer = victim.state[f"{self.layer}.noise"]
        zeros = buffer.new_zeros(leak.batch_size, buffer.shape[1])
        return [self._solved(leak, victim) if leak.batch_size == 1 else zeros]

    def _solved(self, leak: "Leak", victim: "Victim") -> Tensor:
        weight, bias = (leak.gradients[f"{self.layer}.encoder.{name}"] for name in ("weight", "bias"))
        # The ratio of `exact/ratio.py`: the row with the largest divisor, of which rounding is the smallest share.
        largest = bias.abs().argmax()
        features = weight[largest] / bias[largest]
        bottleneck: Any = victim.module.get_submodule(self.layer)
        with torch.no_grad():
            spread = bottleneck.encoder(features).chunk(2)[1]
        along_mean, along_spread = bias.chunk(2)
        noise = along_spread / (along_mean * bottleneck.scale * spread.sigmoid())
        # An update that is not this network's, or that was perturbed, solves for anything; no normal draw is beyond 6.
        return noise.nan_to_num(0.0).clamp(-6, 6)[None]

    def seen(self, images: Tensor, labels: Tensor, secrets: Sequence[Tensor]) -> Seen:
        """Images and labels as they are, and the noise."""
        # Held where it was solved for: moved along with the image it would fit that image's errors.
        noise = secrets[0].detach() if len(images) == 1 else secrets[0]
        return Seen(images, labels, {f"{self.layer}.noise": noise})
