"""A further update of the private batch, from another state of the network."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Observation:
    """An update of a later round: `gradients` as in a `Leak`, computed in a network whose parameters are `state`.

    Both map the names of the victim's parameters. Whoever sends a network out knows its state.
    """

    state: dict[str, Tensor]
    gradients: dict[str, Tensor]

    def to(self, device: torch.device) -> "Observation":
        """The same with its tensors on `device`."""
        return Observation(*({name: value.to(device) for name, value in part.items()} for part in vars(self).values()))
