"""A short federated training: clients with unequal shares of the classes, each defended, and a server that averages."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from gradinv.attacks.victim import bn_layers, trained_parameters
from gradinv.benchmark.datasets import Dataset, Split, random_state, seed_of
from gradinv.benchmark.defenses import create_defense
from gradinv.benchmark.experiment import client_update
from gradinv.benchmark.victims import LoadedVictim, Normalisation, normalise


class Federation(BaseModel):
    """Who trains, and how long: in every round each client sends the update of one batch of its own images.

    Client k's share of every class is drawn from a Dirichlet distribution of concentration `alpha` (Hsu et al. 2019):
    small is unequal. The server averages and takes a step of Adam (FedAdam, Reddi et al. 2021), so that what a defense
    does to the update's length costs nothing by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    clients: int = Field(default=5, ge=1)
    rounds: int = Field(default=100, ge=1)
    batch_size: int = Field(default=16, ge=1)
    alpha: float = Field(default=0.5, gt=0)
    lr: float = Field(default=0.003, gt=0)

    def __str__(self) -> str:
        """In words, for tables and titles."""
        return (
            f"{self.clients} clients, {self.rounds} rounds of one batch of {self.batch_size} each, classes split by "
            f"Dirichlet({self.alpha:g}), server Adam at {self.lr:g}"
        )


def class_shares(labels: np.ndarray, federation: Federation, seed: int) -> list[np.ndarray]:
    """The places of each client's images: every image belongs to one client, every client has one image at least."""
    draw = random_state("federation", seed)
    owned: list[list[int]] = [[] for _ in range(federation.clients)]
    for label in np.unique(labels):
        places = draw.permutation(np.flatnonzero(labels == label))
        cuts = (np.cumsum(draw.dirichlet([federation.alpha] * federation.clients))[:-1] * len(places)).astype(int)
        for client, part in enumerate(np.split(places, cuts)):
            owned[client] += part.tolist()
    for images in owned:
        if not images:
            images.append(max(owned, key=len).pop())
    return [np.array(sorted(images)) for images in owned]


def federated_accuracy(
    defense: str, dataset: Dataset, victim: LoadedVictim, federation: Federation, seed: int
) -> tuple[float, float]:
    """Share of the evaluation images that are classified right after the training, and bytes of one client's upload.

    Errors as of `federated_training`.
    """
    network, upload = federated_training(defense, dataset, victim, federation, seed)
    return _accuracy(network, dataset.split("evaluation"), (victim.mean, victim.std)), upload


def federated_training(
    defense: str, dataset: Dataset, victim: LoadedVictim, federation: Federation, seed: int
) -> tuple[nn.Module, float]:
    """The network after the training, and bytes of one client's upload a round.

    Starts from a copy of the victim's network, after the defense's `on_model`. Batch norm is in train mode, and its
    buffers are averaged like the updates. ImpossibleCellError where the defense is impossible here.
    """
    chosen = create_defense(defense)
    network = copy.deepcopy(chosen.on_model(victim.module))  # most defenses hand the victim's own network back
    bn_mode = "train" if bn_layers(network) else "eval"
    normalisation, split = (victim.mean, victim.std), dataset.split("train")
    shares = class_shares(np.asarray(split.labels), federation, seed)
    parameters = trained_parameters(network)
    optimizer = torch.optim.Adam(list(parameters.values()), lr=federation.lr)
    uploads = []
    for number in range(federation.rounds):
        updates, buffers = [], []
        for client, places in enumerate(shares):
            images, labels = _batch(split, places, normalisation, federation, seed_of("round", seed, number, client))
            # A seed of the client's own in every round: the global generator is nobody's secret.
            drawn = seed_of("federated defense", seed, number, client)
            sent = client_update(network, images, labels, bn_mode=bn_mode, defense=chosen, seed=drawn)
            updates.append(sent.sent)
            buffers.append(sent.buffers)
        # Of one client, for all of them send tensors of the same shapes in the same coding.
        uploads.append(chosen.upload_bytes(updates[0]))
        for name, parameter in parameters.items():
            parameter.grad = torch.stack([update[name] for update in updates]).mean(dim=0)
        optimizer.step()
        _average(network, buffers)
    return network, float(np.mean(uploads))


def _batch(
    split: Split, places: np.ndarray, normalisation: Normalisation, federation: Federation, seed: int
) -> tuple[Tensor, Tensor]:
    """A client's batch: drawn without repetition while it has enough images."""
    # NumPy takes seeds of 32 bits.
    draw = np.random.RandomState(seed % 2**32)
    chosen = draw.choice(places, federation.batch_size, replace=len(places) < federation.batch_size)
    labels = torch.from_numpy(np.asarray(split.labels)[chosen])
    return normalise(split.images(chosen.tolist()), *normalisation), labels


@torch.no_grad()
def _average(network: nn.Module, buffers: Sequence[dict[str, Tensor]]) -> None:
    for name, buffer in network.named_buffers():
        # The others count batches, of which there is no mean.
        if buffer.is_floating_point():
            buffer.copy_(torch.stack([each[name] for each in buffers]).mean(dim=0))


@torch.no_grad()
def _accuracy(network: nn.Module, split: Split, normalisation: Normalisation) -> float:
    network.eval()
    correct = 0
    for start in range(0, len(split), 256):
        places = list(range(start, min(start + 256, len(split))))
        predicted = network(normalise(split.images(places), *normalisation)).argmax(1)
        correct += int((predicted == torch.from_numpy(np.asarray(split.labels)[places])).sum())
    return correct / len(split)
