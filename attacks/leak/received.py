"""What an attack may see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

import torch
from torch import Tensor

from gradinv.attacks.leak.autoencoder import Autoencoder, faults_of
from gradinv.attacks.leak.leak_file import LeakError, read_leak, write_leak
from gradinv.attacks.leak.observation import Observation
from gradinv.attacks.leak.threat_model import ThreatModel

Statistics = tuple[tuple[Tensor, Tensor], ...]


@dataclass(frozen=True)
class Leak:
    """What the server received and what the threat model adds to it.

    `gradients` maps the victim's parameter names to the observed gradient of the mean cross-entropy over the batch.
    `mean` and `std` (one number a channel) say how the victim normalises images in [0, 1]. `labels` (batch_size,) are
    there only if granted: in slot order for `known`, sorted for `counts`. `bn_statistics` holds one (mean, biased
    variance) pair a batch-norm layer, in module order, as the level granted makes them. `transform` is the key of what
    an attacker who knows the defense may apply to a candidate's update (`transforms.py`); empty where there is nothing.
    `buffers` are the network's after the client's pass, by name, where the client sent them. `later` are further
    updates of the same batch, of later rounds; all else is of the first, whose network is the victim. `autoencoder` is
    what public images have taught (`auxiliary_images`), where they are granted and one has been trained. `public` are
    the normalised images (n, C, H, W) that a client is known to mix in, where `transform` makes use of them.
    """

    gradients: dict[str, Tensor]
    batch_size: int
    image_shape: tuple[int, int, int]
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    threat_model: ThreatModel = field(default_factory=ThreatModel)
    labels: Tensor | None = None
    bn_statistics: Statistics | None = None
    transform: str = ""
    buffers: dict[str, Tensor] | None = None
    later: tuple[Observation, ...] = ()
    autoencoder: Autoencoder | None = None
    public: Tensor | None = None

    @property
    def observations(self) -> int:
        """How many updates of the batch there are."""
        return 1 + len(self.later)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, C, H, W) of the private batch."""
        return (self.batch_size, *self.image_shape)

    def to(self, device: torch.device) -> "Leak":
        """The same leak with its tensors on `device`."""
        return replace(
            self,
            gradients={name: value.to(device) for name, value in self.gradients.items()},
            labels=None if self.labels is None else self.labels.to(device),
            bn_statistics=None
            if self.bn_statistics is None
            else tuple((mean.to(device), var.to(device)) for mean, var in self.bn_statistics),
            buffers=None if self.buffers is None else {name: value.to(device) for name, value in self.buffers.items()},
            later=tuple(observation.to(device) for observation in self.later),
            autoencoder=None
            if self.autoencoder is None
            else {name: value.to(device) for name, value in self.autoencoder.items()},
            public=None if self.public is None else self.public.to(device),
        )

    def save(self, path: Path) -> None:
        """Write the leak to one safetensors file: all that another process needs to run the attack."""
        write_leak(path, self)

    @classmethod
    def load(cls, path: Path) -> "Leak":
        """Read what `save` or anybody's training code wrote (docs/leak-file.md); LeakError where a file is no leak."""
        return cls(**read_leak(path))

    def require_fit(self, parameters: Mapping[str, Tensor], bn_channels: Sequence[int]) -> None:
        """Nothing for a leak of a network with these trained parameters and channels of batch-norm layers.

        LeakError in one line for gradients that are missing, unknown, or of another shape or type than their parameter
        (a tensor of another shape would be broadcast against it), for statistics of other layers, and for labels that
        are not those of such a batch.
        """
        faults = [*_faults_of(self.gradients, parameters), *self._faults_beside(bn_channels)]
        for number, observation in enumerate(self.later, start=2):
            for part, named in (("state", observation.state), ("gradient", observation.gradients)):
                faults += [f"observation {number}, {part}: {fault}" for fault in _faults_of(named, parameters)]
        if faults:
            more = f", and {len(faults) - 3} more" if len(faults) > 3 else ""
            raise LeakError(f"the leak does not fit the victim: {', '.join(faults[:3])}{more}")

    def _faults_beside(self, bn_channels: Sequence[int]) -> list[str]:
        """What is wrong with all but the gradients."""
        faults = []
        if self.bn_statistics is not None:
            shapes = [tuple(value.shape) for pair in self.bn_statistics for value in pair]
            if shapes != [(channels,) for channels in bn_channels for _ in range(2)]:
                faults.append("the batch-norm statistics are not those of the victim's layers")
        # Probabilities are told by their type: each of them lies among the class indices.
        if self.labels is not None and (
            tuple(self.labels.shape) != (self.batch_size,)
            or self.labels.is_floating_point()
            or not bool(((self.labels >= 0) & (self.labels < self.num_classes)).all())
        ):
            faults.append(f"the labels are not {self.batch_size} class indices below {self.num_classes}")
        if not len(self.mean) == len(self.std) == self.image_shape[0]:
            faults.append(f"mean and std are not {self.image_shape[0]} numbers each, one a channel")
        if self.autoencoder is not None:
            faults += faults_of(self.autoencoder, self.image_shape[0])
        if self.public is not None and tuple(self.public.shape[1:]) != self.image_shape:
            faults.append(f"the public images are {tuple(self.public.shape[1:])} and not {self.image_shape}")
        return faults


def _faults_of(named: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> list[str]:
    """What keeps the tensors from being one each for the parameters."""
    missing = (f"{name} is missing" for name in parameters if name not in named)
    unknown = (f"{name} is no parameter that the victim trains" for name in named if name not in parameters)
    return [
        # In turn, since mostly a name is missing because it is there under another.
        *(fault for pair in zip_longest(missing, unknown) for fault in pair if fault is not None),
        *(
            f"{name} is {_kind(named[name])} and not {_kind(parameter)}"
            for name, parameter in parameters.items()
            if name in named and _kind(named[name]) != _kind(parameter)
        ),
    ]


def _kind(tensor: Tensor) -> str:
    """Shape and type of a tensor, in words."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
