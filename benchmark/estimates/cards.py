"""How long trials would take on a GPU that is not here: reckoned from their operations, never measured."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from gradinv.benchmark.estimates.gpus import Card
from gradinv.benchmark.estimates.memory import MetaEvaluation
from gradinv.benchmark.estimates.preflight import estimates_of
from gradinv.benchmark.experiment import PlannedTrial, TrialSpec
from gradinv.benchmark.runs import Plan


def seconds_on(card: Card, plan: Plan, trials: Sequence[PlannedTrial]) -> list[float]:
    """Seconds of each trial on this card; NaN where the operations of a victim cannot be counted."""
    return estimates_of(trials, partial(_evaluation_seconds, card, plan))


class Operations(TorchDispatchMode):
    """Counts the calls of a block, and the floating-point operations of its convolutions and matrix products.

    Works for tensors of any device, "meta" included.

    >>> import torch
    >>> with Operations() as counted:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 4)
    >>> counted.floating_point  # a product and a sum for each of the 2 x 3 x 4
    48
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.floating_point = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the operation as it is, and count it."""
        result = func(*args, **(kwargs or {}))
        self.calls += 1
        # The table of torch's own FlopCounterMode, whose hooks on modules do not stand a second derivative.
        if (count := flop_registry.get(func.overloadpacket)) is not None:
            self.floating_point += count(*args, **(kwargs or {}), out_val=result)
        return result


def _evaluation_seconds(card: Card, plan: Plan, spec: TrialSpec, together: int) -> float:
    """Seconds of one candidate's evaluation among so many."""
    evaluation = MetaEvaluation(
        plan.network_of(spec),
        spec.batch_size,
        spec.image_size,
        len(plan.dataset_of(spec).classes),
        bn_mode=spec.threat_model.bn_mode,
        update=spec.threat_model.known_update,
        together=together,
        channels=plan.dataset_of(spec).channels,
    )
    with Operations() as counted:
        evaluation.run()
    return card.seconds(counted.floating_point, counted.calls) / together
