"""Every figure that a set of records allows, each with the table it was drawn from."""

from collections.abc import Sequence
from pathlib import Path

from metrics.ablation_plots import draw_ablation
from metrics.contrasts import Contrast
from metrics.defense_plots import draw_defenses
from metrics.plots import draw_figures
from metrics.progress_plots import draw_progress
from metrics.record import Record
from metrics.recovery_plots import draw_recovery


def draw_all(records: Sequence[Record], contrasts: Sequence[Contrast], out_dir: Path) -> list[Path]:
    """Draw all figures of the records as PNG and PDF, each with the CSV it was drawn from; returns the files."""
    return [
        *draw_figures(records, out_dir),
        *draw_recovery(records, out_dir),
        *draw_progress(records, out_dir),
        *draw_defenses(records, out_dir),
        *draw_ablation(records, contrasts, out_dir),
    ]
