"""Several rounds of a federation: the same batch's updates, each from where the one before has moved the network.

The network moves by what the server receives and by nothing else: a federation of one client, or one whose other
clients stand still. So all that a state says of the batch was sent before, and a control's states are those of its own
updates.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from gradinv.attacks.leak import Observation
from gradinv.attacks.victim import trained_parameters
from gradinv.benchmark.experiment.client import ImpossibleCellError

Send = Callable[[int, nn.Module], dict[str, Tensor]]
"""(number of the round, from 2; the network as it is then) -> what the client sends, by parameter."""


def later_rounds(
    module: nn.Module, first: Mapping[str, Tensor], send: Send, *, observations: int, server_lr: float
) -> tuple[Observation, ...]:
    """The updates after the `first` one, which is from `module`; the module itself is left alone.

    After each round the server subtracts `server_lr` times what it received from the weights (federated averaging, or
    SGD where gradients are sent). ImpossibleCellError where the weights diverge.
    """
    later: list[Observation] = []
    state, sent = _weights(module), dict(first)
    for number in range(2, observations + 1):
        state = moved(state, sent, server_lr)
        if not all(bool(torch.isfinite(value).all()) for value in state.values()):
            raise ImpossibleCellError(f"the network diverges before round {number}; take a smaller server_lr")
        network = copy.deepcopy(module)
        for name, parameter in trained_parameters(network).items():
            parameter.data.copy_(state[name])
        sent = send(number, network)
        later.append(Observation(state, sent))
    return tuple(later)


def moved(state: Mapping[str, Tensor], sent: Mapping[str, Tensor], server_lr: float) -> dict[str, Tensor]:
    """The weights after a round: FedAvg's server step (McMahan et al. 2017), scaled as by Reddi et al. (2021).

    >>> moved({"weight": torch.ones(1)}, {"weight": torch.ones(1)}, 0.25)
    {'weight': tensor([0.7500])}
    """
    return {name: value - server_lr * sent[name] for name, value in state.items()}


def restated(module: nn.Module, sent: Sequence[Mapping[str, Tensor]], server_lr: float) -> tuple[Observation, ...]:
    """The observations after the first where these updates are received one after another, from `module` on."""
    later, state = [], _weights(module)
    for received, following in pairwise(sent):
        state = moved(state, received, server_lr)
        later.append(Observation(state, dict(following)))
    return tuple(later)


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in trained_parameters(module).items()}
