"""What an attack returns."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Reconstruction:
    """What an attack returns.

    `images` (B, C, H, W) is what is scored, normalised as the victim sees images; `final` is the last iterate.
    `labels` (B,) are the attack's own, `label_method` is given | inferred:<rule> | optimised, `uses` names what of the
    grant was used. `curve` holds (evaluations spent, objective), `terms` by name what the objective consists of at each
    point of the curve, weighted (their sum is the objective, but for `group`, what agents add to it), `snapshots` the
    iterates kept at `snapshot_at` evaluations. `evaluations` counts parameter gradients of one candidate batch:
    closures, agents and restarts alike. `stopped` says why the budget was not spent; empty where it was. Several agents
    add their `consensus` and its `spread`, both (B, C, H, W): the standard deviation over the agents once aligned;
    `alignments` counts the accepted ones and, by reason, the rejected ones. `engine` names how candidates were
    evaluated. A result may be partial: `filled` (B,) says which slots hold an image, None for all; what stands in the
    others is never looked at. `certified` (B,) says of which images the attack has proved, without any original, that
    they were in the batch that the update is of; None for an attack that proves nothing.
    """

    images: Tensor
    final: Tensor
    labels: Tensor
    label_method: str
    uses: tuple[str, ...] = ()
    objective_start: float | None = None
    objective_end: float | None = None
    evaluations: int = 0
    diverged: bool = False
    curve: tuple[tuple[int, float], ...] = ()
    terms: dict[str, tuple[float, ...]] = field(default_factory=dict)
    snapshots: tuple[Tensor, ...] = ()
    snapshot_at: tuple[int, ...] = ()
    consensus: Tensor | None = None
    spread: Tensor | None = None
    alignments: dict[str, int] = field(default_factory=dict)
    stopped: str = ""
    notes: tuple[str, ...] = ()
    engine: str = "eager"
    filled: Tensor | None = None
    certified: Tensor | None = None
