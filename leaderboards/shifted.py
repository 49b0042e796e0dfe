"""Two networks whose updates say what is in an image: `cyclic_convnet` and not where, `bordered_convnet` both.

One convolution of stride 1, 64 filters of 9 x 9, GELU, the mean over all positions and a linear layer. With cyclic
padding every cyclic shift of an image has the same update; with zeros around it the border tells where it lies.
"""

from typing import Any, Literal

from timm.models import register_model
from torch import Tensor, nn

FILTERS = 64
KERNEL = 9


class PooledConvNet(nn.Module):
    """Convolution, GELU, mean over positions, linear layer; `padding` as in torch."""

    def __init__(self, padding: Literal["circular", "zeros"], num_classes: int, in_chans: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_chans, FILTERS, KERNEL, padding=KERNEL // 2, padding_mode=padding)
        self.activation = nn.GELU()
        self.fc = nn.Linear(FILTERS, num_classes)
        self.num_classes = num_classes

    def get_classifier(self) -> nn.Linear:
        """The linear layer."""
        return self.fc

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.activation(self.convolution(x)).mean((2, 3)))


@register_model
def cyclic_convnet(pretrained: bool = False, *, num_classes: int = 10, in_chans: int = 3, **_: Any) -> PooledConvNet:
    """The network that does not know where."""
    return PooledConvNet("circular", num_classes, in_chans)


@register_model
def bordered_convnet(pretrained: bool = False, *, num_classes: int = 10, in_chans: int = 3, **_: Any) -> PooledConvNet:
    """Its twin, which sees the border."""
    return PooledConvNet("zeros", num_classes, in_chans)
