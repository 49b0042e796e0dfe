"""What an attack may ask of a network: its parameter gradients, batch-norm layers and classifier."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gradinv.attacks.leak import Leak, Statistics
from gradinv.attacks.update import Update, create_update
from gradinv.attacks.victim.classifier import find_classifier
from gradinv.attacks.victim.evaluation_count import EvaluationCount
from gradinv.attacks.victim.grouped_convolution import grouped_convolutions
from gradinv.attacks.victim.hidden_state import forget_hidden_state, private_copy
from gradinv.attacks.victim.substitution import call_with
from gradinv.metrics.registry import RequestError


class FrozenNetworkError(RequestError):
    """A network of which nothing is trained, so that its client sends nothing."""


def trained_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a client trains and sends, by name; FrozenNetworkError where all are frozen.

    >>> layer = nn.Linear(2, 3)
    >>> _ = layer.bias.requires_grad_(False)
    >>> list(trained_parameters(layer))
    ['weight']
    """
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if not trained:
        raise FrozenNetworkError(
            f"every parameter of {type(module).__name__} is frozen (requires_grad=False), so that a client sends "
            "nothing; leave what it trains unfrozen"
        )
    return trained


def bn_layers(module: nn.Module) -> list[_BatchNorm]:
    """The batch-norm layers of a network, in module order.

    >>> len(bn_layers(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))))
    1
    """
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]


class Victim:
    """A private copy of the client's network, from before the update.

    `bn_mode` eval uses the running statistics; train uses those of the batch and leaves the buffers alone. Dropout
    and drop path are off in both, so that the update of a batch is a function of the batch. `update` is the key of
    what the client sends; `named_parameters` are those that it trains, frozen ones are not sent. `evaluations`
    counts what is asked of it. `family` is a token: victims that share it are copies of one network and differ in
    values alone. The network that was copied is not kept: no attack can reach it from here. Raises
    FrozenNetworkError where nothing is trained, HiddenStateError where the network holds tables that nobody can
    renew.
    """

    def __init__(
        self, module: nn.Module, *, bn_mode: str = "eval", update: str = "gradient", family: object | None = None
    ) -> None:
        self.family = object() if family is None else family
        self.module = private_copy(module)
        forget_hidden_state(self.module)
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
        self.named_parameters = trained_parameters(self.module)
        self.parameter_names, self.parameters = list(self.named_parameters), list(self.named_parameters.values())
        self.evaluations = EvaluationCount(self.parameters)
        self._convolutions = grouped_convolutions(self.module)  # once, for it looks at every layer

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.parameters[0].device

    def logits(self, parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Logits (B, classes) of normalised images (B, C, H, W) under these parameters."""
        with self._convolutions:
            # The network as it is: calling it costs less than putting others in.
            if parameters is self.named_parameters:
                return self.module(images)
            return call_with(self.module, parameters, images)

    def update(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        kind: Update | None = None,
        parameters: Mapping[str, Tensor] | None = None,
        buffers: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> tuple[Tensor, ...]:
        """What a client would send for this batch, in the order of `parameter_names`, itself differentiable.

        Images (B, C, H, W) are normalised, labels class indices (B,) or probabilities (B, classes). `kind` stands in
        for the update that the client sends, `parameters` and `buffers` for those of the network. Counts as one
        evaluation, however many gradients it takes.
        """
        if not self.evaluations.is_paused:
            self.evaluations.add(1)
        chosen = self.named_parameters if parameters is None else parameters

        def logits(parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
            return self.logits({**parameters, **buffers} if buffers else parameters, images)

        with self.evaluations.paused():
            return (kind or self.update_kind).compute(logits, chosen, images, labels, create_graph=True)

    def functional_update(
        self,
        images: Tensor,
        labels: Tensor,
        state: dict[str, Tensor],
        recorded: dict[int, tuple[Tensor, Tensor]],
        *,
        kind: Update | None = None,
    ) -> tuple[list[Tensor], dict[int, tuple[Tensor, Tensor]]]:
        """The same by `torch.func`, for use inside its transforms, with the statistics that were recorded.

        `state` maps the names of parameters and buffers to their values. `recorded` is the dictionary of
        `recording_bn_statistics`; what the hooks leave in it ends with the transform. `kind` stands in for the update
        that the client sends.
        """

        def logits(parameters: Mapping[str, Tensor], images: Tensor) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
            with self._convolutions:
                outputs = call_with(self.module, state | dict(parameters), images)
            # Handed out of the transform in a copy: what the hooks leave in `recorded` itself is dead outside of it.
            return outputs, dict(recorded)

        parameters = {name: state[name] for name in self.parameter_names}
        return (kind or self.update_kind).functional(logits, parameters, images, labels)

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

    def bn_values(self, image_shape: tuple[int, int, int]) -> list[int]:
        """How many values a channel each batch-norm layer sees of one image (C, H, W); of a batch so many times more.

        In module order. Layers are seen as they are used, a layer that is used twice as it is used last.
        """
        values: dict[int, int] = {}

        def counter(index: int) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
            def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
                values[index] = inputs[0][:1, :1].numel()

            return hook

        handles = [layer.register_forward_pre_hook(counter(index)) for index, layer in enumerate(self.bn_layers)]
        try:
            # Two images, because a batch-norm layer in train mode takes no single value a channel.
            with torch.no_grad():
                self.module(self.parameters[0].new_zeros(2, *image_shape))
        finally:
            for handle in handles:
                handle.remove()
        return [values[index] for index in sorted(values)]

    def classifier_weight(self, image_shape: tuple[int, int, int]) -> str:
        """Name of the weight of the linear layer or convolution whose output is the logits of images (C, H, W).

        Raises NoClassifierError where there is none, or where its gradient is not sent.
        """
        # Two images, because a batch-norm layer in train mode takes no single one.
        images = torch.randn(2, *image_shape, generator=torch.Generator().manual_seed(0))
        return find_classifier(self.module, images.to(self.parameters[0]))

    def require_fit(self, leak: Leak) -> None:
        """Nothing for a leak of this network's update; LeakError naming the tensors that are none of it."""
        leak.require_fit(self.named_parameters, [layer.num_features for layer in self.bn_layers])


def _use_batch_statistics(layers: list[_BatchNorm]) -> None:
    """Normalise by the batch without updating any buffer: without running statistics PyTorch uses the batch's."""
    for layer in layers:
        layer.track_running_stats = False
        layer.running_mean = None
        layer.running_var = None
