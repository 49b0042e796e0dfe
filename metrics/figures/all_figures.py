"""Every figure that a set of records allows, each with the table it was drawn from."""

from collections.abc import Sequence
from pathlib import Path

from gradinv.metrics.comparison.contrasts import Contrast
from gradinv.metrics.figures.ablation import draw_ablation
from gradinv.metrics.figures.defenses import draw_defenses
from gradinv.metrics.figures.progress import draw_progress
from gradinv.metrics.figures.quality import draw_figures
from gradinv.metrics.figures.recovery import draw_recovery
from gradinv.metrics.records.record import Record


def draw_all(records: Sequence[Record], contrasts: Sequence[Contrast], out_dir: Path) -> list[Path]:
    """Draw all figures of the records as PNG and PDF, each with the CSV it was drawn from; returns the files."""
    return [
        *draw_figures(records, out_dir),
        *draw_recovery(records, out_dir),
        *draw_progress(records, out_dir),
        *draw_defenses(records, out_dir),
        *draw_ablation(records, contrasts, out_dir),
    ]
