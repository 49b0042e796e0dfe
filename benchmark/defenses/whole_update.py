"""An update taken as one vector: its norm, its length, its entries, and back."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gradinv.benchmark.defenses.base import Defense, dense_bytes


def whole_norm(update: Mapping[str, Tensor]) -> Tensor:
    """The l2 norm over all entries together, a scalar."""
    # The norm of the tensors' norms: all entries in one vector would be a copy of the network's size.
    return torch.stack([torch.linalg.vector_norm(value) for value in update.values()]).norm()


def entries_of(update: Mapping[str, Tensor]) -> int:
    """How many numbers the update has."""
    return sum(value.numel() for value in update.values())


def flattened(update: Mapping[str, Tensor]) -> Tensor:
    """All entries as one vector, tensor by tensor."""
    return torch.cat([value.reshape(-1) for value in update.values()])


def shaped(flat: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The vector's entries in the shapes and under the names of an update."""
    parts = flat.split([value.numel() for value in like.values()])
    return {name: part.reshape(value.shape) for (name, value), part in zip(like.items(), parts, strict=True)}


def mask_before(later: Sequence[Defense]) -> str:
    """The transform that reads off zeros what was left out; empty where one of these defenses fills zeros."""
    return "masked" if all(part.keeps_zeros for part in later) else ""


_PLACE = 4  # bytes of an index


def sparse_bytes(sent: Mapping[str, Tensor]) -> float:
    """Bytes of value and place (4 bytes) of every entry that is not zero, or of all entries where that is less."""
    # A zero that was not pruned costs as little: the server fills it in like any other.
    sparse = sum(int(value.count_nonzero()) * (value.element_size() + _PLACE) for value in sent.values())
    return min(float(sparse), dense_bytes(sent))
