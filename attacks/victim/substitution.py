"""A network's output under other weights than its own."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def call_with(module: nn.Module, tensors: Mapping[str, Tensor], images: Tensor) -> Any:
    """What the module makes of images with these parameters and buffers, by name, in place of its own.

    Whatever shares one of them gets the same. The module is left as it was.

    >>> layer = nn.Linear(1, 1, bias=False)
    >>> call_with(layer, {"weight": torch.tensor([[3.0]])}, torch.tensor([2.0]))
    tensor([6.])
    """
    # Ties are resolved here: torch's own way of it (`tie_weights`) swaps a tensor of a module that stands in two places
    # twice, and then puts the substitute back in place of the original.
    return torch.func.functional_call(module, _with_ties(module, tensors), (images,), tie_weights=False)


def _with_ties(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, under the names of all modules that hold them; a module that stands in two places has one name."""
    holders: dict[int, list[str]] = {}
    for path, part in module.named_modules():
        for name, tensor in (*part._parameters.items(), *part._buffers.items()):
            if tensor is not None:
                holders.setdefault(id(tensor), []).append(f"{path}.{name}" if path else name)
    sharing = {name: names for names in holders.values() for name in names}
    return {other: value for name, value in tensors.items() for other in sharing.get(name, [name])}
