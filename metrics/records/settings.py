"""Settings in words: which rows stand together, under which title, in a file of which name."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gradinv.metrics.boards.columns import SETTING
from gradinv.metrics.records.record import Cell

Setting = Mapping[str, Any]
TITLE_FIELDS = ("victim", "victim_state", "dataset", "image_size", "defense", "batch_size")
USUAL = {"precision": "float32"}
"""Fields that words and file names leave out where they have this value, and name wherever they have another."""
BATCH_SIZE_FIELDS = ("batch_size", "granted_numbers_per_pixel")  # a batch size has its own number of pixels


def setting_of(cell: Cell, without: Iterable[str] = ()) -> dict[str, Any]:
    """Everything of a cell but its attack, as name -> value; the names in `without` are left out."""
    return {name: getattr(cell, name) for name in SETTING if name not in set(without)}


def by_setting(cells: Iterable[Cell], without: Sequence[str] = ()) -> list[tuple[dict[str, Any], list[Cell]]]:
    """The cells that may be compared with each other, together with what they share."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(setting_of(cell, without).values()), []).append(cell)
    return [(setting_of(group[0], without), group) for group in groups.values()]


def varying(settings: Iterable[Setting]) -> list[str]:
    """The names that a title must add, because only they tell some of the settings apart."""
    found = list(settings)
    names = [name for setting in found[:1] for name in setting if name not in (*TITLE_FIELDS, *USUAL)]
    following = [name for name in names if name != "granted_numbers_per_pixel"]
    return [name for name in following if len({str(setting[name]) for setting in found}) > 1]


def unusual(setting: Setting) -> list[str]:
    """The names of `USUAL` whose value is another one here.

    >>> unusual({"precision": "float32"}), unusual({"precision": "bf16"})
    ([], ['precision'])
    """
    return [name for name, value in USUAL.items() if setting.get(name, value) != value]


def title(setting: Setting, also: Iterable[str] = ()) -> str:
    """The setting in words.

    >>> title({"victim": "lenet_dlg", "victim_state": "untrained", "dataset": "photos", "image_size": 32,
    ...        "defense": "none", "batch_size": 4})
    'lenet_dlg (untrained) · photos 32 px · no defense · batch size 4'
    """
    defense = setting["defense"]
    parts = [
        f"{setting['victim']} ({setting['victim_state']})",
        f"{setting['dataset']} {setting['image_size']} px",
        "no defense" if defense == "none" else f"defense {defense}",
    ]
    parts += [f"batch size {setting['batch_size']}"] if "batch_size" in setting else []
    return " · ".join(parts + [f"{name} {setting[name]}" for name in (*also, *unusual(setting))])


def granted(setting: Setting) -> str:
    """The threat model in words: what the client sends, and what the attacker is given."""
    adaptive = str(setting["adaptive"]).lower() == "true"
    defense = {True: ", attacker knows the defense", False: ", attacker does not know the defense"}[adaptive]
    return (
        f"client sends: {setting['update']} in {setting['bn_mode']} mode; granted: labels {setting['labels']}, "
        f"batch-norm statistics {setting['bn_statistics']}{'' if setting['defense'] == 'none' else defense}"
    )


def wrap_key(key: str, width: int) -> str:
    """A key on several lines of at most `width` characters, broken where its parts begin.

    >>> print(wrap_key("gradinversion.no_bn[alpha_tv=0.0001,lr=0.1]", 22))
    gradinversion.no_bn
    [alpha_tv=0.0001,
    lr=0.1]
    """
    lines = [""]
    for part in re.findall(r"[.\[]?[^.\[,]*(?:\.\d+[^.\[,]*)*,?", key):
        if lines[-1] and len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
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
    return "-".join(re.sub(r"[^\w.=+]+", "_", str(part)).strip("_") for part in parts)
