"""What an attack may not leave behind: switches of the process that it turned, results that cannot be."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from gradinv.attacks.leak import Reconstruction
from gradinv.attacks.victim import Victim


class ImpossibleResultError(ValueError):
    """What an attack says of itself that cannot be; its trial fails with this text."""


@contextmanager
def restored_switches() -> Iterator[None]:
    """Whatever is turned inside the block is turned back: gradients, default type, threads, determinism, generators.

    A convention among honest authors and no wall: an attack shares the process, and with it the private batch.
    """
    # Asked only where CUDA is in use: saving its generators would start it, in every worker of a run on the CPU too.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    grad, dtype, threads = torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    # NumPy's old global generator: not ours, but what a plug-in seeds and what others then draw from.
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def check_result(reconstruction: Reconstruction, shape: tuple[int, ...], budget: int | None) -> None:
    """ImpossibleResultError where images are not of the batch's `shape` (B, C, H, W) or evaluations cannot be.

    Evaluations are a count, and at most the `budget` where there is one.
    """
    for name in ("images", "final"):
        if tuple(getattr(reconstruction, name).shape) != shape:
            returned = tuple(getattr(reconstruction, name).shape)
            raise ImpossibleResultError(f"the attack returned {name} of shape {returned}, the batch is {shape}")
    for name in ("filled", "certified"):
        mask = getattr(reconstruction, name)
        if mask is not None and (tuple(mask.shape) != shape[:1] or mask.dtype != torch.bool):
            raise ImpossibleResultError(f"the attack's {name} is no truth value for each of {shape[0]} slots")
    spent = reconstruction.evaluations
    if not isinstance(spent, int) or isinstance(spent, bool) or spent < 0:
        raise ImpossibleResultError(f"the attack says that it spent {spent!r} evaluations, which is no count")
    if budget is not None and spent > budget:
        raise ImpossibleResultError(f"the attack spent {spent} evaluations, its budget is {budget}")
    for name in ("objective_start", "objective_end"):
        value = getattr(reconstruction, name)
        if value is not None and not isinstance(value, float | int):
            raise ImpossibleResultError(f"{name} is {value!r}, no number")


def counted_evaluations(victim: Victim, reconstructions: Sequence[Reconstruction], budget: int | None) -> list[int]:
    """The evaluations of each trial by the victim's count; ImpossibleResultError where they are above the budget."""
    said = [reconstruction.evaluations for reconstruction in reconstructions]
    # What a victim counts is a sum over the trials that share it. Mostly it is what they say, and then a trial's count
    # does not depend on its company; what nobody spoke of is shared out.
    # Rounded up: of what is above a budget nothing is lost by sharing it out.
    unspoken = -((sum(said) - victim.evaluations.spent) // len(said))
    counted = [max(0, spent + unspoken) for spent in said]
    for spent, of_victim in zip(said, counted, strict=True):
        if budget is not None and of_victim > budget:
            raise ImpossibleResultError(
                f"the attack says that it spent {spent} evaluations, its victim counted {of_victim}; "
                f"the budget is {budget}"
            )
    return counted


def share_not_finite(reconstruction: Reconstruction) -> float:
    """Share of the returned values, in [0, 1], that are no finite number.

    >>> images = torch.tensor([[[[1.0, float("nan")], [2.0, float("inf")]]]])
    >>> share_not_finite(Reconstruction(images=images, final=images, labels=torch.tensor([0]), label_method="given"))
    0.5
    """
    return 1 - float(torch.isfinite(reconstruction.images).double().mean())
