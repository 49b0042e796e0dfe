"""What a record cannot say: where its parts disagree with each other, it is no record of the trial that it names."""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict

from gradinv.metrics.images import facts_of
from gradinv.metrics.keys import Key, bracketed, parse_key
from gradinv.metrics.plain_text import cut
from gradinv.metrics.records.identity import row_identity, trial_id
from gradinv.metrics.records.layout import RunDirectory
from gradinv.metrics.records.record import ImageScore, Record
from gradinv.metrics.records.settings import SETTING
from gradinv.metrics.registry import RequestError

_ROUNDING = 1e-6  # of a metric computed in single precision
_SPECIFIED: dict[str, tuple[type, ...]] = {
    "dataset": (str,),
    "image_size": (int, str),
    "victim": (dict,),
    "weights_hash": (str,),
    "attack": (str,),
    "control": (str,),
    "defense": (str,),
    "threat_model": (dict,),
    "batch_size": (int,),
    "repetition": (int,),
    "budget": (int, type(None)),
    "metrics": (list,),
    "device": (str,),
    "engine": (str,),
    "sources": (dict,),
}
"""What every specification has, whatever its schema: those who run a row again, or measure more of it, ask for it."""
_OF_SPECIFICATION = ("dataset", "image_size", "defense", "batch_size", "precision")
_OF_THREAT_MODEL = ("bn_mode", "bn_statistics", "labels", "update", "adaptive", "max_equal_labels")
_OF_LATER_THREAT_MODELS = (
    "buffers",
    "client_precision",
    "simulation",
    "equal_labels",
    "observations",
    "server_lr",
    "auxiliary_images",
)


def disagreement(record: Record) -> str:
    """The first thing that the record contradicts itself in, in words; empty where it is sound.

    Compared with its specification are the id, the cell, the repetition and the budget; the images must be the slots of
    one batch, every number lie in its range, and the state fit what was measured. Only a record made by hand lacks a
    specification, and then what follows from it is not looked at.
    """
    checks: list[Callable[[Record], Iterator[str]]] = [
        _specification,
        _identity,
        _cell,
        _images,
        _numbers,
        _spent,
        _state,
    ]
    try:
        # Lazily: what is wrong first may be why a later check makes no sense, or raises.
        return next((text for check in checks for text in check(record)), "")
    # Of a specification that is none, or so deep that it cannot be hashed.
    except (KeyError, TypeError, AttributeError, RequestError, RecursionError) as error:
        return f"its specification is no trial's ({error})"


def checksum_line(name: str, content: bytes) -> str:
    """A file's SHA-256 and name, as `sha256sum -c` reads them."""
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n"


def checksums(run: RunDirectory, trial_id: str) -> str:
    """The lines of a trial's files; what was added later is no part of them."""
    files = (run.record(trial_id), run.tensors(trial_id), run.floats(trial_id))
    return "".join(checksum_line(path.name, path.read_bytes()) for path in files if path.is_file())


def _specification(record: Record) -> Iterator[str]:
    if not record.spec:
        return
    for name, types in _SPECIFIED.items():
        if name not in record.spec:
            yield f"its specification lacks {name}"
        elif not isinstance(record.spec[name], types):
            yield f"its specification's {name} is {cut(repr(record.spec[name]))}"
    if not all(isinstance(name, str) for name in record.spec["metrics"]):
        yield "its specification's metrics are no names"


def _identity(record: Record) -> Iterator[str]:
    if record.spec:
        if record.id != trial_id(record.spec):
            yield f"its id is not the hash of its specification, {trial_id(record.spec)}"
        if record.repetition != record.spec.get("repetition"):
            yield f"repetition is {record.repetition}, in its specification {record.spec.get('repetition')}"


def _cell(record: Record) -> Iterator[str]:
    """What of the cell does not follow from the specification."""
    specification, cell = record.spec, record.cell
    if not specification:
        return
    threat_model, victim = specification["threat_model"], specification["victim"]
    control, attack = specification["control"], specification["attack"]
    key = Key(control, attack) if control else parse_key(attack)
    expected = {
        "attack": key.name,
        "preset": key.preset,
        "parameters": bracketed(key.parameters),
        "is_control": bool(control),
        "victim_seed": victim["seed"],
        "budget": "paper" if specification["budget"] is None else str(specification["budget"]),
        # What an older specification lacks contradicts nothing.
        **{name: specification.get(name, getattr(cell, name)) for name in _OF_SPECIFICATION},
        "split": specification.get("split", SETTING["split"].default),
        **{name: threat_model[name] for name in _OF_THREAT_MODEL},
        **{name: threat_model.get(name, SETTING[name].default) for name in _OF_LATER_THREAT_MODELS},
        **asdict(row_identity(specification)),
    }
    for name, value in expected.items():
        if getattr(cell, name) != value:
            yield f"{name} is {getattr(cell, name)!r}, in its specification {value!r}"
    # The cell says more: options in brackets after the model, and how degenerate an untrained state turned out.
    if cell.victim.partition("[")[0] != victim["model"] or not cell.victim_state.startswith(victim["state"]):
        yield f"victim is {cell.victim} ({cell.victim_state}), not {victim['model']} ({victim['state']})"


def _images(record: Record) -> Iterator[str]:
    """The images of a scored trial are the slots of its batch, once each, and so are the reconstructions."""
    size = record.cell.batch_size if record.is_scored else 0
    for name in ("slot", "reconstruction"):
        indices = sorted(getattr(image, name) for image in record.images)
        # Not compared with a list of the batch's slots, which could be of any length.
        if len(indices) != size or any(slot != place for place, slot in enumerate(indices)):
            yield (
                f"{name}s are {cut(str(indices))}, not those of a batch of {size}"
                if record.is_scored
                else f"it is {record.state} and holds images"
            )


def _numbers(record: Record) -> Iterator[str]:
    """Numbers outside what they can be."""
    holders: list[Record | ImageScore] = [record, *record.images]
    for holder in holders:
        for name, value in holder.metrics.items():
            facts = facts_of(name)  # None: a plug-in's, whose range is not known here
            if facts and not math.isnan(value) and not facts.low - _ROUNDING <= value <= facts.high + _ROUNDING:
                yield f"{name} is {value:g}, outside {facts.low:g} to {facts.high:g}"
    in_place = [image.slot == image.reconstruction for image in record.images]
    if in_place and record.slot_accuracy != sum(in_place) / len(in_place):
        yield f"slot_accuracy is {record.slot_accuracy}, of its images {sum(in_place) / len(in_place):g}"
    if record.zero_gradient_share is not None and not 0 <= record.zero_gradient_share <= 1:
        yield f"zero_gradient_share is {record.zero_gradient_share:g}, outside 0 to 1"
    if not (record.seconds >= 0 and math.isfinite(record.seconds)):
        yield f"seconds is {record.seconds:g}"


def _spent(record: Record) -> Iterator[str]:
    """Evaluations within the budget, and a curve that never goes back."""
    budget = record.spec.get("budget") if record.spec else None
    spent = max(record.evaluations, record.evaluations_counted or record.evaluations)
    if record.evaluations < 0 or (isinstance(budget, int) and spent > budget):
        yield f"it spent {spent} evaluations, its budget is {budget}"
    steps = [step for step, _ in record.curve]
    if steps != sorted(set(steps)):
        yield "the evaluations of its curve do not rise"
    for name, values in record.terms.items():
        if len(values) != len(record.curve):
            yield f"its term {name} has {len(values)} points, its curve has {len(record.curve)}"
    if record.snapshot_psnr and len(record.snapshots) != len(record.snapshot_psnr):
        yield f"it has {len(record.snapshots)} snapshots and {len(record.snapshot_psnr)} values of them"


def _state(record: Record) -> Iterator[str]:
    if record.is_scored == bool(record.reason):
        yield f"it is {record.state} and " + (
            "gives a reason for having no values" if record.reason else "gives no reason"
        )
