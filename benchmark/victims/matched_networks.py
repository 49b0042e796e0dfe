"""Networks of the papers on gradient matching that timm has not: DLG's LeNet and the ConvNet of Inverting Gradients."""

from typing import Any

from timm.models import register_model
from torch import Tensor, nn

from gradinv.metrics.image_size import sides

Pixels = int | tuple[int, int]
"""A side of square images, or height and width: what timm calls `img_size`."""
WIDTHS = (1, 2, 2, 4, 4, 4, 4, 4)
"""Channels of the ConvNet's convolutions, in multiples of its width."""
POOLED = (5, 7)
"""The convolutions of the ConvNet after which a third of the pixels a side is left."""


class LeNetDLG(nn.Module):
    """The sigmoid LeNet of DLG (Zhu et al. 2019): three 5x5 convolutions of 12 channels, then one linear layer."""

    def __init__(self, *, num_classes: int, img_size: Pixels, in_chans: int) -> None:
        super().__init__()
        strides = (2, 2, 1)
        channels = (in_chans, 12, 12)
        layers: list[nn.Module] = []
        for inputs, stride in zip(channels, strides, strict=True):
            layers += [nn.Conv2d(inputs, 12, kernel_size=5, stride=stride, padding=2), nn.Sigmoid()]
        self.body = nn.Sequential(*layers)
        height, width = (-(-side // 4) for side in sides(img_size))  # each stride of 2 halves it, rounded up
        self.fc = nn.Linear(12 * height * width, num_classes)
        self.num_classes = num_classes
        # As in the paper's code, and far wider than PyTorch's default: at most 0.12 in the first layer.
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5)

    def get_classifier(self) -> nn.Linear:
        """The linear layer."""
        return self.fc

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).flatten(1))


class ConvNet(nn.Module):
    """The ConvNet of Inverting Gradients (Geiping et al. 2020): eight 3x3 convolutions, batch norm, two poolings by 3.

    Convolutions have biases and `width` times `WIDTHS` channels; one linear layer follows. PyTorch's initialisation.
    """

    def __init__(self, width: int, *, num_classes: int, img_size: Pixels, in_chans: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = in_chans
        for index, multiple in enumerate(WIDTHS):
            outputs = multiple * width
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            layers += [nn.MaxPool2d(3)] if index in POOLED else []
            inputs = outputs
        self.body = nn.Sequential(*layers)
        height, breadth = (side // 3 // 3 for side in sides(img_size))
        if not height * breadth:
            raise ValueError("its two poolings by 3 leave nothing of images of fewer than 9 pixels a side")
        self.fc = nn.Linear(inputs * height * breadth, num_classes)
        self.num_classes = num_classes

    def get_classifier(self) -> nn.Linear:
        """The linear layer."""
        return self.fc

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.body(x).flatten(1))


def checked_sizes(num_classes: int, img_size: Pixels, in_chans: int, pretrained: bool) -> dict[str, Any]:
    """What a network without published weights is built from; ValueError where pretrained ones are asked for."""
    if pretrained:
        raise ValueError("it has no pretrained weights; take state untrained or trained")
    return {"num_classes": num_classes, "img_size": img_size, "in_chans": in_chans}


@register_model
def lenet_dlg(
    pretrained: bool = False, *, num_classes: int = 10, img_size: Pixels = 32, in_chans: int = 3, **_: Any
) -> LeNetDLG:
    """The LeNet of Zhu et al. 2019, weights and biases U(-0.5, 0.5), for images of any size."""
    return LeNetDLG(**checked_sizes(num_classes, img_size, in_chans, pretrained))


@register_model
def convnet64(
    pretrained: bool = False, *, num_classes: int = 10, img_size: Pixels = 32, in_chans: int = 3, **_: Any
) -> ConvNet:
    """The ConvNet64 of Geiping et al. 2020, on which they attack CIFAR-10."""
    return ConvNet(64, **checked_sizes(num_classes, img_size, in_chans, pretrained))


@register_model
def convnet16(
    pretrained: bool = False, *, num_classes: int = 10, img_size: Pixels = 32, in_chans: int = 3, **_: Any
) -> ConvNet:
    """The same with a quarter of its channels: what a processor can iterate on. Not of the paper."""
    return ConvNet(16, **checked_sizes(num_classes, img_size, in_chans, pretrained))
