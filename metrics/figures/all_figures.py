"""Every figure that a set of records allows, each with the table it was drawn from, and the contact sheets."""

from collections.abc import Sequence
from pathlib import Path

from gradinv.metrics.comparison import Contrast
from gradinv.metrics.figures.ablation import draw_ablation
from gradinv.metrics.figures.defenses import draw_defenses
from gradinv.metrics.figures.objective import draw_objectives
from gradinv.metrics.figures.progress import draw_progress
from gradinv.metrics.figures.quality import draw_quality
from gradinv.metrics.figures.recovery import draw_recovery
from gradinv.metrics.figures.sheets import draw_sheets
from gradinv.metrics.records import Record


def draw_all(
    records: Sequence[Record], contrasts: Sequence[Contrast], runs: Sequence[Path], out_dir: Path
) -> list[Path]:
    """Draw all figures of the records as PNG and PDF, each with the CSV it was drawn from; returns the files.

    The pictures on the contact sheets come from the run directories; nothing is drawn of what they lack.
    """
    return [
        *draw_quality(records, out_dir),
        *draw_objectives(records, out_dir),
        *draw_recovery(records, out_dir),
        *draw_progress(records, out_dir),
        *draw_defenses(records, out_dir),
        *draw_ablation(records, contrasts, out_dir),
        *draw_sheets(records, runs, out_dir),
    ]
