"""No defense: the client sends its gradients as they are."""

from gradinv.benchmark.defenses import Defense, register_defense
from torch import Generator, Tensor


@register_defense("none", paper=None)
class NoDefense(Defense):
    """The identity."""

    def apply(self, gradients: dict[str, Tensor], generator: Generator) -> dict[str, Tensor]:
        """The same tensors."""
        return gradients
