"""breaching 0.1.2 on a victim and a leak of ours: its network is the victim's own, its statistics are those granted.

It is imported where it is first needed: the plug-in beside this file can be loaded where breaching is not installed.
"""

import contextlib
import functools
import importlib.metadata
import io
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from gradinv.attacks.gradient_matching import TotalVariation
from gradinv.attacks.gradient_matching.priors import Candidate
from gradinv.attacks.leak import Leak
from gradinv.attacks.victim import Victim

VERSION = "0.1.2"
"""Numbers belong to a version: breaching's source is no part of a trial's specification, and these two files are."""


class LentNetwork(nn.Module):
    """The victim's network for breaching, which copies what it is given: this one stays the one it is.

    So the victim counts every gradient that is computed for its parameters. As a module it is empty: breaching's
    loading of parameters, changes of mode and casts find nothing to change.
    """

    def __init__(self, victim: Victim) -> None:
        super().__init__()
        self.victim = victim

    def __deepcopy__(self, memo: dict[int, Any]) -> "LentNetwork":
        return self

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Those that the client trains, in the order of the leak's gradients."""
        return iter(self.victim.parameters)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes)."""
        return self.victim.logits(self.victim.named_parameters, images)


class NoDistance:
    """In place of breaching's objective, for a control that must not see the update: nothing, and one evaluation."""

    def __init__(self, victim: Victim) -> None:
        self.victim = victim

    def initialize(self, *_: Any) -> None:
        """Nothing to prepare."""

    def __call__(self, network: nn.Module, _: Any, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Zero for distance and loss, after the pass that priors on statistics look at."""
        self.victim.evaluations.add(1)
        return 0 * network(images).sum(), images.new_zeros(())


def reason_not_installed() -> str | None:
    """Why breaching cannot be asked, in one line; None where it is there in the version that this file is for."""
    try:
        version = importlib.metadata.version("breaching")
    except importlib.metadata.PackageNotFoundError:
        return f"breaching {VERSION} is not installed: pip install 'gradinv[peers]'"
    return None if version == VERSION else f"is for breaching {VERSION}, and {version} is installed"


def payloads(leak: Leak) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What breaching's server publishes and its client sends: the leak, in its words.

    No parameters and buffers: they are those of the lent network. No statistics: `granted_statistics` hands out what
    is granted.
    """
    images = {"modality": "vision", "shape": list(leak.image_shape), "mean": leak.mean, "std": leak.std}
    server = {"parameters": [], "buffers": [], "metadata": SimpleNamespace(classes=leak.num_classes, **images)}
    batch = {"num_data_points": leak.batch_size, "labels": leak.labels, "local_hyperparams": None}
    return [server], [{"gradients": list(leak.gradients.values()), "buffers": None, "metadata": batch}]


@functools.cache
def imported() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what later versions of torch and hydra will not have
        import breaching
    return breaching


@functools.cache
def preset_config(preset: str, options: tuple[str, ...]) -> Any:
    """breaching's preset with these options; read once a process, since composing one takes as long as some trials."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return imported().get_attack_config(preset, overrides=list(options))


def kept_candidates(attacker: Any) -> list[Tensor]:
    """A list to which the attacker's candidates are added: it moves them in place and returns another iterate."""
    candidates: list[Tensor] = []
    draw: Callable[[Any], Tensor] = attacker._initialize_data

    def drawn(shape: Any) -> Tensor:
        candidates.append(draw(shape))
        return candidates[-1]

    attacker._initialize_data = drawn
    return candidates


@contextlib.contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Inside the block torch's own generators, from which breaching draws, go by the trial's seed."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def granted_statistics(attacker: Any, leak: Leak, victim: Victim) -> Iterator[None]:
    """Inside the block breaching compares the victim's layers with the statistics granted, and not with its buffers."""
    from breaching.attacks.auxiliaries.deepinversion import DeepInversionFeatureHook
    from breaching.attacks.auxiliaries.regularizers import DeepInversion

    hooks = []
    for term in attacker.regularizers:
        if isinstance(term, DeepInversion):
            for layer, (mean, variance) in zip(victim.bn_layers, leak.bn_statistics or (), strict=True):
                hook = DeepInversionFeatureHook(layer)
                hook.close()  # it would read the layer's own buffers; its formula is kept
                compare = functools.partial(_compare, hook, SimpleNamespace(running_mean=mean, running_var=variance))
                hook.hook = layer.register_forward_hook(compare)
                hooks.append(hook)
            term.losses, term.initialize = [hooks], lambda *_: None
    try:
        yield
    finally:
        for hook in hooks:  # breaching never removes its own
            hook.close()


def _compare(hook: Any, granted: SimpleNamespace, _: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    hook.hook_fn(granted, inputs, output)


def without_border(attacker: Any) -> None:
    """Put our total variation in the place of breaching's, at its weight: the same without the border of zeros."""
    from breaching.attacks.auxiliaries.regularizers import TotalVariation as WithBorder

    for term in attacker.regularizers:
        if isinstance(term, WithBorder):
            prior = TotalVariation(term.scale)
            term.forward = functools.partial(_weighted, prior)


def _weighted(prior: TotalVariation, images: Tensor) -> Tensor:
    return prior.weight * prior(Candidate(images))
