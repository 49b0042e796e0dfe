"""Settings: the columns that decide which rows may be compared, and their values in words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradinv.metrics.records.column import Column
from gradinv.metrics.records.files import short_name

# A cell's setting is made of these columns, so its module imports this one and not the other way round.
if TYPE_CHECKING:
    from gradinv.metrics.records.record import Cell

Setting = Mapping[str, Any]

SETTING: Mapping[str, Column] = {
    "dataset": Column("data set that the private batches come from"),
    "image_size": Column("height and width of the images; `64x80` where they are not square", "px", 1),
    "victim": Column("the client's network: a timm model's name"),
    "victim_state": Column("untrained, early, trained or pretrained; `untrained_degenerate`: > 5 % gradients are zero"),
    "victim_seed": Column("seed of the victim's weights", "count", 0),
    "bn_mode": Column("mode of the client's batch-norm layers: eval or train"),
    "bn_statistics": Column("batch-norm statistics granted: one of the levels below"),
    "granted_numbers_per_pixel": Column(
        "batch-norm numbers granted / unknown pixel values; above about 0.5 the prior is a leak by itself", "ratio", 0
    ),
    "labels": Column("labels granted: one of the levels below"),
    "update": Column("what the client sends: gradient, or weight_update[...]"),
    "defense": Column("key of the defense; `none` for none"),
    "adaptive": Column("whether the attacker knows the defense", "true/false"),
    "batch_size": Column("images in one private batch", "count", 1),
    "max_equal_labels": Column("most images of one label in a batch; 1: all labels distinct", "count", 1),
    "budget": Column("evaluations that a trial may spend, restarts and all; `paper`: the preset's own"),
    "precision": Column("arithmetic of the attack's evaluations: float32, tf32 or bf16", default="float32"),
    "buffers": Column("whether the client sends its batch-norm buffers: withheld or sent", default="withheld"),
    "client_precision": Column("what the client computes in and sends: float32 or float64", default="float32"),
    "simulation": Column("what is known of the local training: one of the levels below", default="strong"),
    "equal_labels": Column("images of a batch that share its first label; 1: as they come", "count", 1, default=1),
    "observations": Column("updates of the same batch that are received, one a round", "count", 1, default=1),
    "server_lr": Column(
        "what the server multiplies an update by before it subtracts it from the weights", "ratio", 0, default=1.0
    ),
    "auxiliary_images": Column("public images granted: one of the levels below", default="none"),
    "split": Column("images that are attacked: evaluation, or tuning, on which no claim rests", default="evaluation"),
}
"""Name -> column of everything in a row but its attack: only rows of equal setting may be compared.

A column that comes later has a default, which is what the tables and records from before it hold.
"""

IDENTITY: Mapping[str, Column] = {
    "specification": Column("hash of all that the row's trials share: weights, data, sources, engine, ...", default=""),
    "arm": Column("the same without the control: an attack has it in common with its own controls", default=""),
    "context": Column(
        "the same without the attack: an attack has it in common with the controls that attack nothing", default=""
    ),
}
"""Name -> column of what tells rows apart that look alike (`identity.py`); empty in tables from before."""

LATER: Setting = {name: column.default for name, column in SETTING.items() if column.default is not None}
"""Defaults by name. Words and file names leave a column out where it has its default, and name it elsewhere."""
TITLE_FIELDS = ("victim", "victim_state", "dataset", "image_size", "defense", "batch_size")
LATER_WORDS = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in LATER.items()} | {
    name: str(column.default) for name, column in IDENTITY.items()
}
"""What a table holds in a column that came after it was published."""
BATCH_SIZE_FIELDS = ("batch_size", "granted_numbers_per_pixel")  # a batch size has its own number of pixels


def setting_of(cell: "Cell", without: Iterable[str] = ()) -> dict[str, Any]:
    """Everything of a cell but its attack, as name -> value; the names in `without` are left out."""
    return {name: getattr(cell, name) for name in SETTING if name not in set(without)}


def by_setting(cells: "Iterable[Cell]", without: Sequence[str] = ()) -> "list[tuple[dict[str, Any], list[Cell]]]":
    """The cells that may be compared with each other, together with what they share."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        # Not `cell.setting`: what is left out here must not keep cells apart.
        groups.setdefault(tuple(setting_of(cell, without).values()), []).append(cell)
    return [(setting_of(group[0], without), group) for group in groups.values()]


def varying(settings: Iterable[Setting]) -> list[str]:
    """The names that a title must add, because only they tell some of the settings apart."""
    every = list(settings)
    if not every:
        return []
    # The granted numbers follow from the other columns, so that they never tell two settings apart alone.
    named = {*TITLE_FIELDS, *LATER, "granted_numbers_per_pixel"}
    return [name for name in every[0] if name not in named and len({str(setting[name]) for setting in every}) > 1]


def unusual(setting: Setting) -> list[str]:
    """The names of `LATER` whose value is not the default.

    >>> unusual({"precision": "float32"}), unusual({"precision": "bf16"})
    ([], ['precision'])
    """
    return [name for name, value in LATER.items() if setting.get(name, value) != value]


def title(setting: Setting, also: Iterable[str] = (), *, names_defense: bool = True) -> str:
    """The setting in words, without its defense for who compares defenses.

    >>> title({"victim": "lenet_dlg", "victim_state": "untrained", "dataset": "photos", "image_size": 32,
    ...        "defense": "none", "batch_size": 4})
    'lenet_dlg (untrained) · photos 32 px · no defense · batch size 4'
    """
    defense = setting["defense"]
    parts = [
        f"{setting['victim']} ({setting['victim_state']})",
        f"{setting['dataset']} {setting['image_size']} px",
    ]
    parts += ["no defense" if defense == "none" else f"defense {defense}"] if names_defense else []
    parts += [f"batch size {setting['batch_size']}"] if "batch_size" in setting else []
    more = [
        _knowledge(setting) if name == "adaptive" else f"{name} {setting[name]}" for name in (*also, *unusual(setting))
    ]
    return " · ".join(filter(None, parts + more))


def granted(setting: Setting) -> str:
    """The threat model in words: what the client sends, and what the attacker is given."""
    words = [f"labels {setting['labels']}", f"batch-norm statistics {setting['bn_statistics']}", _knowledge(setting)]
    return f"client sends: {setting['update']} in {setting['bn_mode']} mode; granted: {', '.join(filter(None, words))}"


def _knowledge(setting: Setting) -> str:
    """Whether the attacker knows the defense; nothing where there is none."""
    if setting["defense"] == "none":
        return ""
    adaptive = str(setting["adaptive"]).lower() == "true"  # a truth value of a record, or a board's word
    return "attacker knows the defense" if adaptive else "attacker does not know the defense"


def wrap_key(key: str, width: int) -> str:
    """A key on several lines of at most `width` characters, broken where its parts begin, else after a `_`.

    >>> print(wrap_key("gradinversion.no_bn[alpha_tv=0.0001,lr=0.1]", 22))
    gradinversion.no_bn
    [alpha_tv=0.0001,
    lr=0.1]
    """
    lines = [""]
    # A dot before digits is a decimal point and breaks nothing; any other begins a preset.
    for part in re.findall(r"[.\[]?[^.\[,]*(?:\.\d+[^.\[,]*)*,?", key):
        # Only a part that is too long for a line of its own is broken within.
        for piece in [part] if len(part) <= width else re.findall("[^_]*_?", part):
            if lines[-1] and len(lines[-1] + piece) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(lines)


def slug(setting: Setting, also: Iterable[str] = ()) -> str:
    """A file name that is safe everywhere and differs where the titles differ.

    >>> slug({"victim": "vit/tiny", "victim_state": "trained", "dataset": "photos", "image_size": 32,
    ...       "defense": "gaussian_noise[sigma=0.01]", "batch_size": 4})
    'vit_tiny-trained-photos-32px-gaussian_noise_sigma=0.01-B4'
    """
    parts = [setting["victim"], setting["victim_state"], setting["dataset"], f"{setting['image_size']}px"]
    parts += [setting["defense"]] if setting["defense"] != "none" else []
    parts += [f"B{setting['batch_size']}"] if "batch_size" in setting else []
    parts += [f"{name}={setting[name]}" for name in (*also, *unusual(setting))]
    # `.`, `=` and `+` are safe on every file system and keep numbers readable.
    return short_name("-".join(re.sub(r"[^\w.=+]+", "_", str(part)).strip("_") for part in parts))
