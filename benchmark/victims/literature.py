"""Networks of the papers on exact attacks, built as their authors built them; every one sees pixels in [0, 1].

They stand for those papers and for hardly any network of timm: models that begin with a fully connected layer on the
pixels are rare there, none of its ResNets is without biases and invertible, none of its ViTs begins with attention on
bare embeddings. Where such an attack finds another network it is skipped with the reason.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from timm.models import register_model
from torch import Tensor, nn

from gradinv.benchmark.victims.matched_networks import Pixels, checked_sizes
from gradinv.metrics.image_size import sides

Conv = tuple[int, int, int, int]
"""Channels, kernel size, stride and padding of a convolution."""


class ReLUNet(nn.Sequential):
    """Fully connected layers with ReLU between them, on the flattened image; `hidden` are their widths."""

    def __init__(self, hidden: Sequence[int], *, num_classes: int, img_size: Pixels, in_chans: int) -> None:
        widths = [in_chans * math.prod(sides(img_size)), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        super().__init__(*layers, nn.Linear(widths[-1], num_classes))
        self.num_classes = num_classes

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self[-1]


class LeakyConvNet(nn.Sequential):
    """Convolutions without biases, LeakyReLU(0.2) after each, then one linear layer without a bias: R-GAP's shape."""

    def __init__(self, convolutions: Sequence[Conv], *, num_classes: int, img_size: Pixels, in_chans: int) -> None:
        layers: list[nn.Module] = []
        channels, (height, width) = in_chans, sides(img_size)
        for outputs, kernel, stride, padding in convolutions:
            layers += [nn.Conv2d(channels, outputs, kernel, stride, padding, bias=False), nn.LeakyReLU(0.2)]
            height, width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
            channels = outputs
        super().__init__(*layers, nn.Flatten(), nn.Linear(channels * height * width, num_classes, bias=False))
        self.num_classes = num_classes

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self[-1]


class BareAttention(nn.Module):
    """Multi-head self-attention over tokens (B, N, D): three projections without biases, and the output's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        q, k, v = (layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        # By its products and not by PyTorch's fused attention, which has no second derivative.
        attended = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1) @ v
        return self.proj(attended.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A transformer block; `bare`: attention acts on its input itself, without normalisation and without a skip."""

    def __init__(self, width: int, heads: int, *, bare: bool) -> None:
        super().__init__()
        self.bare = bare
        self.norm1 = nn.Identity() if bare else nn.LayerNorm(width)
        self.attn = BareAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        attended = self.attn(self.norm1(tokens))
        tokens = attended if self.bare else tokens + attended
        return tokens + self.mlp(self.norm2(tokens))


class AprilViT(nn.Module):
    """A small vision transformer whose first block is attention on the embeddings themselves (Lu et al. 2022, Eq. 6).

    Patches of 4 pixels, width 192, three heads, a class token, learnt positions; `depth` blocks.
    """

    def __init__(self, *, num_classes: int, img_size: Pixels, in_chans: int, depth: int = 2) -> None:
        super().__init__()
        width, heads, patch = 192, 3, 4
        self.patch_embed = nn.Conv2d(in_chans, width, patch, stride=patch)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(
            0.02 * torch.randn(1, math.prod(side // patch for side in sides(img_size)) + 1, width)
        )
        self.blocks = nn.Sequential(*(Block(width, heads, bare=index == 0) for index in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        self.num_classes = num_classes

    def get_classifier(self) -> nn.Module:
        """The linear layer."""
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(tokens))[:, 0])


@register_model
def mlp1000(
    pretrained: bool = False, *, num_classes: int = 10, img_size: Pixels = 32, in_chans: int = 3, **_: Any
) -> ReLUNet:
    """1,000 ReLU neurons on the pixels, W ~ N(0, 0.5^2), b = 0, Xavier-uniform classifier (the peeling paper's)."""
    network = ReLUNet((1000,), **checked_sizes(num_classes, img_size, in_chans, pretrained))
    first, last = (layer for layer in network if isinstance(layer, nn.Linear))
    nn.init.normal_(first.weight, std=0.5)
    nn.init.xavier_uniform_(last.weight)
    for layer in (first, last):
        nn.init.zeros_(layer.bias)
    return network


@register_model
def mlp_cpa(
    pretrained: bool = False, *, num_classes: int = 10, img_size: Pixels = 32, in_chans: int = 3, **_: Any
) -> ReLUNet:
    """256 ReLU neurons on the pixels, PyTorch's initialisation (Kariyappa et al. 2023, their smallest network)."""
    return ReLUNet((256,), **checked_sizes(num_classes, img_size, in_chans, pretrained))


@register_model
def mlp6(
    pretrained: bool = False, *, num_classes: int = 10, img_size: Pixels = 32, in_chans: int = 3, **_: Any
) -> ReLUNet:
    """Five hidden layers of 200 ReLU neurons (Dimitrov et al. 2024, SPEAR)."""
    return ReLUNet((200,) * 5, **checked_sizes(num_classes, img_size, in_chans, pretrained))


@register_model
def mlp300x3(
    pretrained: bool = False, *, num_classes: int = 10, img_size: Pixels = 32, in_chans: int = 3, **_: Any
) -> ReLUNet:
    """Three linear layers, 300 ReLU neurons in each hidden one (iLRG's FCN-3, Ma et al. 2022)."""
    return ReLUNet((300,) * 2, **checked_sizes(num_classes, img_size, in_chans, pretrained))


@register_model
def mlp500x6(
    pretrained: bool = False, *, num_classes: int = 10, img_size: Pixels = 32, in_chans: int = 3, **_: Any
) -> ReLUNet:
    """Six linear layers, 500 ReLU neurons in each hidden one (Balunović et al. 2022, on which PRECODE falls)."""
    return ReLUNet((500,) * 5, **checked_sizes(num_classes, img_size, in_chans, pretrained))


@register_model
def cnn3_rgap(
    pretrained: bool = False, *, num_classes: int = 10, img_size: Pixels = 32, in_chans: int = 3, **_: Any
) -> LeakyConvNet:
    """Three 5x5 convolutions of 12 channels, the shape of DLG's LeNet, without biases and invertible."""
    convolutions = ((12, 5, 2, 2), (12, 5, 2, 2), (12, 5, 1, 2))
    return LeakyConvNet(convolutions, **checked_sizes(num_classes, img_size, in_chans, pretrained))


@register_model
def cnn6_rgap(
    pretrained: bool = False, *, num_classes: int = 10, img_size: Pixels = 32, in_chans: int = 3, **_: Any
) -> LeakyConvNet:
    """Six convolutions (Zhu and Blaschko 2021, CNN6), with one logit a class instead of their one logit."""
    convolutions = ((12, 4, 2, 2), (36, 3, 2, 1), (36, 3, 1, 1), (36, 3, 1, 1), (64, 3, 2, 1), (128, 3, 1, 1))
    return LeakyConvNet(convolutions, **checked_sizes(num_classes, img_size, in_chans, pretrained))


@register_model
def vit_april(
    pretrained: bool = False, *, num_classes: int = 10, img_size: Pixels = 32, in_chans: int = 3, **_: Any
) -> AprilViT:
    """Two blocks, of which the first is attention on the embeddings, no norm and no skip (Lu et al. 2022, APRIL)."""
    return AprilViT(**checked_sizes(num_classes, img_size, in_chans, pretrained))
