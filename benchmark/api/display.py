"""How results look in a notebook: tables and pictures as one piece of HTML, which needs no network and no script."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from gradinv.metrics.boards import lines_by_setting
from gradinv.metrics.figures import Material, figures_of
from gradinv.metrics.images import facts_of
from gradinv.metrics.leakage import badge
from gradinv.metrics.records import Record, granted, title, varying
from gradinv.metrics.registry import RequestError
from gradinv.metrics.typesetting import between, digits_of, fixed

_PICTURE = 96
"""Pixels of a picture's side on the page, at least."""
_SHOWN = 8


def board_html(records: Sequence[Record], board: pd.DataFrame, runs: Sequence[Path]) -> str:
    """The board of some records, a table a setting, and the contact sheet of the first setting that has pictures."""
    settings = lines_by_setting(records, board)
    distinguishing = varying(setting for setting, _ in settings)
    parts: list[str] = []
    for setting, lines in settings:
        parts.append(f"<p><b>{escape(title(setting, distinguishing))}</b><br>{escape(granted(setting))}</p>")
        rows = [
            {
                "attack": line.cell.key,
                "batches": line.row["n_batches"],
                "PSNR (dB)": f"{fixed(line.number('psnr_mean'), 1)} {between(*line.interval('psnr')[1:], 1)}",
                "verdict": "" if line.cell.is_control else badge(line.row) if line.is_scored else line.reason,
            }
            for line in lines
        ]
        parts.append(pd.DataFrame(rows).to_html(index=False, border=0))
    return "".join([*parts, _sheet(records, runs)])


def _sheet(records: Sequence[Record], runs: Sequence[Path]) -> str:
    try:
        sheets = figures_of(Material(records, (), runs), "images")
    except RequestError:  # nothing was scored
        return ""
    return _figure(next(iter(sheets.values())))


def trial_html(record: Record, originals: Tensor, reconstructions: Tensor, scores: pd.DataFrame) -> str:
    """The originals above the reconstructions, with their values, of at most eight images."""
    cell = record.cell
    heading = f"{cell.key} · {cell.victim} ({cell.victim_state}) · {cell.dataset} {cell.image_size} px · {record.state}"
    rows = [
        ("original", [_picture(image) for image in originals[:_SHOWN]]),
        ("reconstruction", [_picture(image) for image in reconstructions[:_SHOWN]]),
        *(
            (_heading(str(metric)), [fixed(value, digits_of(str(metric))) for value in scores[metric].iloc[:_SHOWN]])
            for metric in scores.columns
        ),
    ]
    body = "".join(
        f"<tr><th>{escape(name)}</th>{''.join(f'<td>{entry}</td>' for entry in entries)}</tr>" for name, entries in rows
    )
    return f"<p><b>{escape(heading)}</b></p><table>{body}</table>"


def _heading(metric: str) -> str:
    """What a metric is called, with its unit; a column that is no metric by its own name."""
    facts = facts_of(metric)
    return facts.heading if facts else metric


def _picture(image: Tensor) -> str:
    """An image (C, H, W) in [0, 1], enlarged by whole pixels."""
    # Pillow knows grey pictures by two axes; of three channels `squeeze` takes nothing away.
    pixels = (255 * image).round().byte().permute(1, 2, 0).squeeze(2).numpy()
    scale = max(1, -(-_PICTURE // max(pixels.shape[:2])))
    file = io.BytesIO()
    Image.fromarray(pixels).resize((pixels.shape[1] * scale, pixels.shape[0] * scale), Image.Resampling.NEAREST).save(
        file, "PNG"
    )
    return _png(file)


def _figure(figure: Figure) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return _png(file)


def _png(file: io.BytesIO) -> str:
    return f'<img src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'
