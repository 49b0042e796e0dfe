"""What an attack may ask of a network: its parameter gradients, batch-norm layers and classifier."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gradinv.attacks.leak import Statistics
from gradinv.attacks.update import create_update


class NoClassifierError(ValueError):
    """A network without a classifier whose weight gradient could be read."""


def bn_layers(module: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers of a network, in module order.

    >>> len(bn_layers(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))))
    1
    """
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]


class Victim:
    """A private copy of the client's network, from before the update.

    `bn_mode` eval uses the running statistics; train uses those of the batch and leaves the buffers alone. Dropout and
    drop path are off in both, so that the update of a batch is a function of the batch. `update` is the key of what the
    client sends. `family` is a token: victims that share it are copies of one network and differ
    in values alone. The network that was copied is not kept: no attack can reach it from here.
    """

    def __init__(
        self, module: nn.Module, *, bn_mode: str = "eval", update: str = "gradient", family: object | None = None
    ) -> None:
        self.family = object() if family is None else family
        self.module = copy.deepcopy(module).eval()
        self.bn_mode, self.update_kind = bn_mode, create_update(update)
        self.bn_layers = bn_layers(self.module)
        # Read before `_use_batch_statistics` drops the buffers; a layer that never kept any has none to read.
        self.running_statistics: Statistics = tuple(
            (layer.running_mean.clone(), layer.running_var.clone())
            for layer in self.bn_layers
            if layer.running_mean is not None and layer.running_var is not None
        )
        if bn_mode == "train":
            _use_batch_statistics(self.bn_layers)
        # Of frozen layers too: a client sends something for every parameter.
        for parameter in self.module.parameters():
            parameter.requires_grad_(True)
        self.named_parameters = dict(self.module.named_parameters())
        self.parameter_names, self.parameters = list(self.named_parameters), list(self.named_parameters.values())

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.parameters[0].device

    def logits(self, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Logits (B, classes) of normalised images (B, C, H, W) under these parameters."""
        if parameters is self.named_parameters:  # the network as it is: calling it costs less than putting others in
            return self.module(images)
        return torch.func.functional_call(self.module, dict(parameters), (images,))

    def update(self, images: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """What a client would send for this batch, in the order of `parameter_names`, itself differentiable.

        Images (B, C, H, W) are normalised, labels class indices (B,) or probabilities (B, classes).
        """
        return self.update_kind.compute(self.logits, self.named_parameters, images, labels, create_graph=True)

    def functional_update(
        self,
        images: Tensor,
        labels: Tensor,
        state: dict[str, Tensor],
        recorded: dict[int, tuple[Tensor, Tensor]],
    ) -> tuple[list[Tensor], dict[int, tuple[Tensor, Tensor]]]:
        """The same by `torch.func`, for use inside its transforms, with the statistics that were recorded.

        `state` maps the names of parameters and buffers to their values. `recorded` is the dictionary of
        `recording_bn_statistics`; what the hooks leave in it ends with the transform.
        """

        def logits(parameters: Mapping[str, Tensor], images: Tensor) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
            outputs = torch.func.functional_call(self.module, state | dict(parameters), (images,))
            # Handed out of the transform in a copy: what the hooks leave in `recorded` itself is dead outside of it.
            return outputs, dict(recorded)

        return self.update_kind.functional(logits, {name: state[name] for name in self.parameter_names}, images, labels)

    @property
    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, detached."""
        named = (*self.module.named_parameters(), *self.module.named_buffers())
        return {name: value.detach() for name, value in named}

    @contextmanager
    def recording_bn_statistics(self, active: bool = True) -> Iterator[dict[int, tuple[Tensor, Tensor]]]:
        """Inside the block, every forward pass leaves (mean, biased variance) of each layer's input under its index.

        The indices follow `bn_layers`. The hooks are gone when the block is left; where not `active` there are none.
        """
        recorded: dict[int, tuple[Tensor, Tensor]] = {}

        def recorder(index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                (features,) = inputs[:1]
                dims = [dim for dim in range(features.ndim) if dim != 1]
                # Biased: so the layer itself normalises in train mode, and so GradInversion's authors compare.
                variance, mean = torch.var_mean(features, dim=dims, correction=0)
                recorded[index] = (mean, variance)

            return hook

        handles = [layer.register_forward_pre_hook(recorder(i)) for i, layer in enumerate(self.bn_layers) if active]
        try:
            yield recorded
        finally:
            for handle in handles:
                handle.remove()

    def bn_statistics(self, images: Tensor) -> Statistics:
        """(mean, biased variance) of every batch-norm layer's input for one batch of images (B, C, H, W)."""
        with torch.no_grad(), self.recording_bn_statistics() as recorded:
            self.module(images)
        return tuple(recorded[index] for index in range(len(self.bn_layers)))

    @property
    def classifier_weight(self) -> str:
        """Name of the classifier's weight: the last linear layer or convolution of what `get_classifier` returns.

        A network without that method is searched whole. Raises NoClassifierError where there is no such layer.
        """
        heads = getattr(self.module, "get_classifier", lambda: self.module)()
        # timm's distilled networks have two heads: the classifier, then the one that follows the teacher.
        head = heads[0] if isinstance(heads, tuple | list) else heads
        layers = [layer for layer in head.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
        for name, parameter in self.module.named_parameters():
            # By identity, because a head knows its layers and only the network knows their full names.
            if layers and parameter is layers[-1].weight:
                return name
        raise NoClassifierError(
            f"{type(self.module).__name__} has no classifier with a weight, so no label can be inferred"
        )


def _use_batch_statistics(layers: list[_BatchNorm]) -> None:
    """Normalise by the batch without updating any buffer: without running statistics PyTorch uses the batch's."""
    for layer in layers:
        layer.track_running_stats = False
        layer.running_mean = None
        layer.running_var = None
