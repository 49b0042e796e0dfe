"""PRECODE: a variational bottleneck before the classifier."""

import copy
from collections import OrderedDict
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from gradinv.attacks.registry import Paper
from gradinv.benchmark.defenses.base import Defense, UndefendableError, register_defense

SCHELIGA_2022 = Paper(
    title="PRECODE - A Generic Model Extension to Prevent Deep Gradient Leakage",
    authors="Daniel Scheliga, Patrick Mäder, Marco Seeland",
    venue="WACV 2022",
    year=2022,
    url="https://arxiv.org/abs/2108.04725",
)


@register_defense("precode", paper=SCHELIGA_2022)
class Precode(Defense):
    """Send features f to the classifier as D z, z = mu + scale softplus(s) eps, (mu, s) = E f (Scheliga et al. 2022).

    eps ~ N(0, 1) is drawn by the client and never sent. The paper's `width` is 256. E's mean starts as an orthonormal
    projection and D as its transpose, so that with scale 0 and a width of at least the features' number the network
    computes what it did; trained weights are of use after it. The paper's KL term, 0.001 of the loss, is left out.
    """

    changes_model = True
    randomises = True
    knowable = "the bottleneck and its weights; of one image the draw too, which its gradients determine"
    cost = "noise before the classifier, a bottleneck of `width` numbers, and its weights in every upload"
    grid = ("precode[scale=0.1]", "precode[scale=1.0]", "precode[scale=10.0]")
    never_neutral = "the network has other parameters; at scale 0 it is the same function up to rounding"

    def __init__(self, *, width: Annotated[int, Field(ge=1)] = 256, scale: Annotated[float, Field(ge=0)] = 1.0) -> None:
        self.width, self.scale = width, scale

    def on_model(self, module: nn.Module) -> nn.Module:
        """A copy with the bottleneck before its classifier, which must be a linear layer."""
        module = copy.deepcopy(module)
        head = getattr(module, "get_classifier", lambda: None)()
        if not isinstance(head, nn.Linear):
            raise UndefendableError(f"precode stands before a linear classifier, and {type(module).__name__} has none")
        name = next(name for name, part in module.named_modules() if part is head)
        bottleneck = VariationalBottleneck(head.in_features, self.width, self.scale).to(head.weight)
        parent, _, attribute = name.rpartition(".")
        # In the mode of what it replaces, since a new module is in train mode.
        extended = nn.Sequential(OrderedDict(bottleneck=bottleneck, head=head)).train(head.training)
        setattr(module.get_submodule(parent), attribute, extended)
        return module

    def draws(self, module: nn.Module, batch_size: int, generator: Generator) -> dict[str, Tensor]:
        """The bottleneck's noise for this batch."""
        layers = {name: part for name, part in module.named_modules() if isinstance(part, VariationalBottleneck)}
        return {
            f"{name}.noise": torch.randn(batch_size, self.width, generator=generator).to(layer.noise)
            for name, layer in layers.items()
        }

    def known(self) -> str:
        """The noise itself, and without what follows the features, whose gradients outweigh all others by far.

        To leave out the stochastic layers' gradients is AdaPRECODE's attack (Scheliga et al. 2022, arXiv 2208.04767).
        """
        return self.known_before([])

    def known_before(self, later: Sequence[Defense]) -> str:
        """The same; behind a defense that sends signs the noise starts at what they tell of it, and is moved on."""
        held = "held=false," if any(part.sends_signs for part in later) else ""
        return f"drawn[{held}part=bottleneck]+ignored[part=bottleneck]+ignored[part=head]"


class VariationalBottleneck(nn.Module):
    """Features (B, F) -> (B, F) through `width` normal numbers; `noise` (B, width) or (1, width) is what is drawn."""

    noise: Tensor

    def __init__(self, features: int, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        # Not `nn.Linear(...)`: its own initialisation would draw from the process's generator.
        self.encoder = nn.utils.skip_init(nn.Linear, features, 2 * width)
        self.decoder = nn.utils.skip_init(nn.Linear, width, features)
        # Zero until somebody draws: the mean is what an attacker who cannot know the draw expects.
        self.register_buffer("noise", torch.zeros(1, width))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            nn.init.orthogonal_(self.encoder.weight[:width], generator=generator)
            self.encoder.weight[width:].normal_(std=features**-0.5, generator=generator)
            self.decoder.weight.copy_(self.encoder.weight[:width].T)
            for layer in (self.encoder, self.decoder):
                layer.bias.zero_()

    def forward(self, features: Tensor) -> Tensor:
        mean, spread = self.encoder(features).chunk(2, dim=-1)
        return self.decoder(mean + self.scale * nn.functional.softplus(spread) * self.noise)
