"""Networks without hidden state: nothing that a forward pass leaves outside parameters and buffers outlives it.

Some networks keep tables that they compute from their weights (LeViT's attention biases, say). Such a table is stale as
soon as weights are loaded, copied or replaced, and it belongs to the graph of the pass that made it: the weights behind
it get a wrong gradient or none.
"""

import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from gradinv.metrics.registry import RequestError

_OF_TORCH = frozenset(vars(nn.Module()))
"""What every module has: its parameters, buffers, children, hooks and mode."""


class _Absent:
    """Stands for an attribute that was not there: a class, since copies of a network must find the same one."""


class HiddenStateError(RequestError):
    """A network that holds what follows from its weights where nobody can renew it."""


class _Kept(NamedTuple):
    """An attribute of a module as it was: the object, and what it contained if it can contain anything."""

    value: Any
    content: Any

    def is_changed(self, value: Any) -> bool:
        """Whether another object is there now, or other contents, by identity."""
        return value is not self.value or _leaves(_content(value)) != _leaves(self.content)

    def put_back(self, module: nn.Module, name: str) -> None:
        """The object with its contents, in its place."""
        if self.value is _Absent:
            vars(module).pop(name, None)
            return
        _refill(self.value, self.content)
        vars(module)[name] = self.value


class _Forget:
    """A hook before and after a module's pass, which puts the attributes back that its first pass has changed."""

    def __init__(self, kept: dict[str, _Kept]) -> None:
        self.kept = kept

    def __call__(self, module: nn.Module, *_: Any) -> None:
        """Put everything back."""
        for name, kept in self.kept.items():
            kept.put_back(module, name)


class _Watch:
    """A hook after a network's first pass: finds the modules that keep tensors, has them forget, and is gone."""

    def __init__(self, before: dict[str, dict[str, _Kept]]) -> None:
        self.before = before

    def __call__(self, network: nn.Module, *_: Any) -> None:
        """Compare every module with what it was."""
        # By its place and not by its handle: a network may have been copied, hooks and all, since it was registered.
        for key in [key for key, hook in network._forward_hooks.items() if hook is self]:
            del network._forward_hooks[key]
        for name, module in network.named_modules():
            kept = _changed(self.before.get(name, {}), _attributes(module))
            # A counter, say, may go on; but where a tensor stays, all that changed with it goes.
            if any(isinstance(leaf, Tensor) for attribute in kept for leaf in _parts(vars(module).get(attribute))):
                forget = _Forget(kept)
                forget(module)
                # Before as well: a pass that raised has not come to its end.
                module.register_forward_pre_hook(forget)
                module.register_forward_hook(forget)


def forget_hidden_state(network: nn.Module) -> None:
    """Make every pass after the first start from what the modules hold now; their tensors are made anew each time.

    Attributes alone: parameters, buffers and children are left as they are. Copies of the network forget as well.
    """
    before = {name: _attributes(module) for name, module in network.named_modules()}
    network.register_forward_hook(_Watch(before))


def private_copy(network: nn.Module) -> nn.Module:
    """A deep copy in eval mode, without the tables that a pass has left in the original.

    Raises HiddenStateError where one is left that does not go with a change of mode.
    """
    # PyTorch copies no tensor that belongs to a graph, and such a table belongs to the original's weights.
    derived = {id(leaf): leaf.detach().clone() for _, leaf in _tables(network) if leaf.grad_fn is not None}
    copied = copy.deepcopy(network, memo=dict(derived)).eval()
    stale = [name for name, leaf in _tables(copied) if any(leaf is table for table in derived.values())]
    if stale:
        raise HiddenStateError(
            f"{type(network).__name__} keeps tensors that follow from its weights outside its parameters and buffers "
            f"({', '.join(stale[:3])}), where new weights leave them stale; compute them in forward"
        )
    return copied


def _tables(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The tensors that modules hold as plain attributes, with their places."""
    for path, module in network.named_modules():
        for name in _attributes(module):
            for leaf in _parts(vars(module)[name]):
                if isinstance(leaf, Tensor):
                    yield f"{path}.{name}".lstrip("."), leaf


def _attributes(module: nn.Module) -> dict[str, _Kept]:
    plain = {name: value for name, value in vars(module).items() if name not in _OF_TORCH}
    return {name: _Kept(value, _content(value)) for name, value in plain.items()}


def _changed(before: dict[str, _Kept], now: dict[str, _Kept]) -> dict[str, _Kept]:
    """What the attributes were that are others now."""
    absent = _Kept(_Absent, None)
    return {
        name: before.get(name, absent)
        for name in {**before, **now}
        if before.get(name, absent).is_changed(now.get(name, absent).value)
    }


def _content(value: Any) -> Any:
    """What an attribute contains, in a copy of its own: of dictionaries, lists, sets and plain objects; else None."""
    if isinstance(value, dict | list | set):
        return copy.copy(value)
    if _is_plain_object(value):
        return dict(vars(value))
    return None


def _is_plain_object(value: Any) -> bool:
    return hasattr(value, "__dict__") and not (isinstance(value, nn.Module | Tensor) or callable(value))


def _refill(value: Any, content: Any) -> None:
    if isinstance(value, list):
        value[:] = content
    elif isinstance(value, dict | set):
        value.clear()
        value.update(content)
    elif _is_plain_object(value):
        vars(value).clear()
        vars(value).update(content)


def _leaves(content: Any) -> list[int]:
    return [id(leaf) for leaf in tree_leaves(list(content) if isinstance(content, set) else content)]


def _parts(value: Any) -> list[Any]:
    """A value, or what it contains."""
    content = _content(value)
    return list(tree_leaves(value if content is None else list(content) if isinstance(content, set) else content))
