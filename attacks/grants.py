"""What a threat model may grant beside the client's update: tables of batch-norm statistics, labels, images.

A level says what is handed out, when an attack can use it, and what it counts as. Suites, the client, the planner and
the rules for published boards all read these tables: a level that stands in none is refused, never guessed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from gradinv.attacks.inferred_statistics import StatisticsError, inferred_statistics, pooled_statistics
from gradinv.attacks.update import create_update
from gradinv.metrics.registry import UnknownNameError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from gradinv.attacks.attack import Conditions
    from gradinv.attacks.leak import Statistics
    from gradinv.attacks.victim import Victim

Level = TypeVar("Level")


def _always(conditions: "Conditions") -> str | None:
    return None


@dataclass(frozen=True)
class Sources:
    """What batch-norm statistics can be made from; what there is none of is None.

    `victim` is the network from before the update and `shape` (B, C, H, W) the private batch's. `images` are those that
    the client computes with, `public` (n, C, H, W) others of their kind, both normalised; `buffers` are the network's
    after the client's pass, by name, where the client sends them.
    """

    victim: "Victim"
    shape: tuple[int, int, int, int]
    images: "Tensor | None" = None
    public: "Tensor | None" = None
    buffers: "Mapping[str, Tensor] | None" = None


@dataclass(frozen=True)
class StatisticsGrant:
    """A level of batch-norm statistics.

    `hand_out` makes them, one (mean, biased variance) pair a layer; None where nothing is granted, StatisticsError
    where a source is missing. `reason_to_skip` says in one line why a prior cannot go by them under some conditions,
    `reason_impossible` why nobody can have them. `are_of_batch` says whether they are about the private batch, so that
    they count as granted numbers: public ones do not. `needs_public` says whether public images are looked for.
    """

    meaning: str
    hand_out: "Callable[[Sources], Statistics | None]"
    reason_to_skip: "Callable[[Conditions], str | None]" = _always
    reason_impossible: "Callable[[Conditions], str | None]" = _always
    are_of_batch: bool = False
    needs_public: bool = False


@dataclass(frozen=True)
class LabelGrant:
    """A level of label knowledge: `hand_out` makes what is granted of the labels (B,); None where nothing is."""

    meaning: str
    hand_out: "Callable[[Tensor], Tensor | None]"


def _nothing_granted(conditions: "Conditions") -> str:
    granting = [name for name in BN_STATISTICS if name != "none"]
    return f"a batch-norm prior needs bn_statistics: {' or '.join(granting)}"


def _say_nothing_untrained(conditions: "Conditions") -> str | None:
    if conditions.trained:
        return None
    return "the running statistics of an untrained network are its initial values and say nothing of images"


def _not_to_be_inferred(conditions: "Conditions") -> str | None:
    granted = conditions.threat_model
    if granted.bn_mode == "eval":
        return "bn_statistics inferred needs a client in train mode: in eval mode no buffer changes"
    if granted.buffers == "withheld":
        return "bn_statistics inferred is solved from the client's buffers; set threat_model.buffers: sent"
    # By what the client does, not by what the attacker knows of it: the buffers are moved at every step.
    steps = create_update(granted.update).steps(conditions.batch_size)
    if steps > 1:
        return (
            f"bn_statistics inferred can be solved for after one local step, and after {steps} only a mixture is left"
        )
    return None


def _of_batch(sources: Sources) -> "Statistics":
    if sources.images is None:
        raise StatisticsError("they are those of the private batch, which is not here")
    return sources.victim.bn_statistics(sources.images)


def _of_public(sources: Sources) -> "Statistics":
    if sources.public is None:
        raise StatisticsError("they are those of public images, and there are none")
    return pooled_statistics(sources.victim, sources.public)


def _of_buffers(sources: Sources) -> "Statistics":
    if sources.buffers is None:
        raise StatisticsError("they are solved from the client's buffers, which it has not sent")
    return inferred_statistics(sources.victim, sources.buffers, sources.shape)


BN_STATISTICS: Mapping[str, StatisticsGrant] = {
    "none": StatisticsGrant("nothing", lambda sources: None, _nothing_granted),
    "running": StatisticsGrant(
        "the network's own running statistics, which the server knows anyway",
        lambda sources: sources.victim.running_statistics,
        _say_nothing_untrained,
    ),
    "proxy": StatisticsGrant(
        "those that up to 256 public images leave in the network: of the tuning split, of which no image is attacked",
        _of_public,
        needs_public=True,
    ),
    "inferred": StatisticsGrant(
        "those of the private batch, solved from the buffers that a client in train mode sends after one local step",
        _of_buffers,
        reason_impossible=_not_to_be_inferred,
        are_of_batch=True,
    ),
    # A level of its own: given these, images can come out of the prior alone, with no gradient at all.
    "exact": StatisticsGrant(
        "those of the private batch; in eval mode no client sends them, and the row says so",
        _of_batch,
        are_of_batch=True,
    ),
}

AUXILIARY: Mapping[str, str] = {
    "none": "nothing",
    "train": "public images: those of the train split, of which none is tuned on or attacked; handed out is the "
    "autoencoder that was trained on them",
}
"""Levels of `auxiliary_images`, with their meanings."""

LABELS: Mapping[str, LabelGrant] = {
    "none": LabelGrant("nothing", lambda labels: None),
    # Sorted and not tallied: an attack takes them like labels, and only the order is withheld.
    "counts": LabelGrant("how often each class occurs", lambda labels: labels.sort().values),
    # A copy, so that an attack which writes to it leaves the client's batch as it was.
    "known": LabelGrant("the label of every slot", lambda labels: labels.clone()),
}


def level_of(table: Mapping[str, Level], kind: str, name: str) -> Level:
    """The level `name` of a table; UnknownNameError with the nearest names where it has none.

    >>> level_of(LABELS, "labels", "counts").meaning
    'how often each class occurs'
    """
    if name not in table:
        raise UnknownNameError(unknown(f"level of {kind}", name, list(table)))
    return table[name]


def granted_statistics(level: str, sources: Sources) -> "Statistics | None":
    """The batch-norm statistics that the level hands out; None also for a network without batch norm.

    StatisticsError where what they are made from is missing or does not determine them.
    """
    # Looked up first, so that a misspelt level is refused for networks without batch norm as well.
    grant = level_of(BN_STATISTICS, "bn_statistics", level)
    return grant.hand_out(sources) if sources.victim.bn_layers else None


def needs_public_images(level: str) -> bool:
    """Whether the level of statistics is made from public images.

    >>> needs_public_images("proxy"), needs_public_images("running")
    (True, False)
    """
    return level_of(BN_STATISTICS, "bn_statistics", level).needs_public


def are_of_batch(level: str) -> bool:
    """Whether the level's statistics are those of the private batch, and not of what anybody has.

    >>> are_of_batch("exact"), are_of_batch("running")
    (True, False)
    """
    return level_of(BN_STATISTICS, "bn_statistics", level).are_of_batch


def granted_labels(level: str, labels: "Tensor") -> "Tensor | None":
    """What the level hands out of the labels (B,): slot by slot, sorted, or nothing.

    >>> import torch
    >>> granted_labels("counts", torch.tensor([3, 1, 3])).tolist()
    [1, 3, 3]
    """
    return level_of(LABELS, "labels", level).hand_out(labels)


def reason_impossible(conditions: "Conditions") -> str | None:
    """Why nobody can have what the threat model grants, in one line; None where somebody can."""
    granted = conditions.threat_model
    if granted.simulation != "strong" and granted.known_update == granted.update:
        return f"update {granted.update} leaves no local training to simulate; take simulation: strong"
    if conditions.bn_layers == 0:
        return None
    return level_of(BN_STATISTICS, "bn_statistics", granted.bn_statistics).reason_impossible(conditions)


def reason_without_statistics(conditions: "Conditions") -> str | None:
    """Why a batch-norm prior is impossible under these conditions, in one line; None where it is possible."""
    if conditions.bn_layers == 0:
        return "a batch-norm prior on a network without batch norm"
    level = level_of(BN_STATISTICS, "bn_statistics", conditions.threat_model.bn_statistics)
    return level.reason_to_skip(conditions)


def granted_numbers_per_pixel(level: str, channels: int, batch_size: int, image_shape: Sequence[int]) -> float:
    """Batch-norm numbers about the private batch that are handed over, per unknown pixel value.

    `channels` are those of all batch-norm layers together: each has a mean and a variance. Above about 0.5 a prior on
    them is a leak by itself, whatever the gradient gives away.

    >>> granted_numbers_per_pixel("exact", channels=96, batch_size=2, image_shape=(3, 8, 8))
    0.5
    """
    if not are_of_batch(level):
        return 0.0
    return 2 * channels / (batch_size * math.prod(image_shape))
