"""What public images have taught: a small convolutional autoencoder, as plain tensors, and what it makes of images."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, leaky_relu

Autoencoder = Mapping[str, Tensor]
"""Weights and biases by name, as `layer_shapes` has them, of pixels in [0, 1]."""

WIDTH = 32
"""Channels of the largest maps; half as large maps have twice as many."""
CODE = 16
"""Channels of the code, whose sides are a quarter of the image's."""


def layer_shapes(channels: int, *, width: int = WIDTH, code: int = CODE) -> dict[str, tuple[int, int, int, int]]:
    """Shapes of the 3 x 3 convolutions, in their order: three down to the code, three up from it.

    >>> list(layer_shapes(3, width=8, code=4).values())[:3]
    [(8, 3, 3, 3), (16, 8, 3, 3), (4, 16, 3, 3)]
    """
    widths = [channels, width, 2 * width, code, 2 * width, width, channels]
    return {f"layer{place}": (widths[place + 1], widths[place], 3, 3) for place in range(len(widths) - 1)}


def fresh_autoencoder(channels: int, *, seed: int, width: int = WIDTH, code: int = CODE) -> dict[str, Tensor]:
    """An untrained one by He's initialisation; biases are 0."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in layer_shapes(channels, width=width, code=code).items():
        tensors[f"{name}.weight"] = torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
        tensors[f"{name}.bias"] = torch.zeros(shape[0])
    return tensors


def reencoded(autoencoder: Autoencoder, pixels: Tensor) -> Tensor:
    """What is left of pixels (n, C, H, W) in [0, 1] after their way through the code; of any size, not clamped."""
    return decoded(autoencoder, encoded(autoencoder, pixels), pixels.shape[-2:])


def encoded(autoencoder: Autoencoder, pixels: Tensor) -> Tensor:
    """The code (n, c, h, w) of pixels (n, C, H, W) in [0, 1], whose sides are a quarter of theirs, rounded up."""
    maps = leaky_relu(_layer(autoencoder, 0, pixels - 0.5, stride=2), 0.2)
    maps = leaky_relu(_layer(autoencoder, 1, maps, stride=2), 0.2)
    return _layer(autoencoder, 2, maps)


def decoded(autoencoder: Autoencoder, code: Tensor, sides: Sequence[int]) -> Tensor:
    """The pixels (n, C, H, W) of a code, for `sides` (H, W); not clamped. Layers before the third are not needed."""
    full, half = list(sides), [-(-side // 2) for side in sides]
    maps = leaky_relu(_layer(autoencoder, 3, code), 0.2)
    maps = leaky_relu(_layer(autoencoder, 4, interpolate(maps, size=half)), 0.2)
    return _layer(autoencoder, 5, interpolate(maps, size=full)) + 0.5


def _layer(autoencoder: Autoencoder, place: int, maps: Tensor, stride: int = 1) -> Tensor:
    weight, bias = autoencoder[f"layer{place}.weight"], autoencoder[f"layer{place}.bias"]
    return conv2d(maps, weight, bias, stride=stride, padding=1)


def faults_of(autoencoder: Autoencoder, channels: int) -> list[str]:
    """What keeps tensors from being an autoencoder of images of so many channels; none where they are one.

    >>> faults_of(fresh_autoencoder(1, seed=0), 1), faults_of({}, 1)[:1]
    ([], ['the autoencoder lacks layer0.weight'])
    """
    widths = (autoencoder.get("layer0.bias", torch.empty(WIDTH)), autoencoder.get("layer2.bias", torch.empty(CODE)))
    width, code = (max(1, value.numel()) for value in widths)
    expected: dict[str, tuple[int, ...]] = {}
    for name, shape in layer_shapes(channels, width=width, code=code).items():
        expected |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return [
        *(f"the autoencoder lacks {name}" for name in expected if name not in autoencoder),
        *(f"no autoencoder has {name}" for name in autoencoder if name not in expected),
        *(
            f"the autoencoder's {name} is {tuple(autoencoder[name].shape)} and not {shape}"
            for name, shape in expected.items()
            if name in autoencoder and tuple(autoencoder[name].shape) != shape
        ),
    ]
