"""Every figure that a set of records allows, each with the table it was drawn from, and the contact sheets."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from gradinv.metrics.comparison import Contrast
from gradinv.metrics.figures.ablation import ablation_drawings
from gradinv.metrics.figures.defenses import defense_drawings
from gradinv.metrics.figures.objective import objective_drawings
from gradinv.metrics.figures.presentation import Presentation, styled
from gradinv.metrics.figures.progress import progress_drawings
from gradinv.metrics.figures.quality import quality_drawings
from gradinv.metrics.figures.ranks import rank_drawings
from gradinv.metrics.figures.recovery import recovery_drawings
from gradinv.metrics.figures.sheets import sheet_drawings
from gradinv.metrics.figures.skeleton import Drawing, save_all
from gradinv.metrics.figures.sweep import sweep_drawings
from gradinv.metrics.figures.terms import term_drawings
from gradinv.metrics.records import Record
from gradinv.metrics.registry import RequestError, unknown


class Material(NamedTuple):
    """What figures are drawn from: records, the contrasts of their suites, the run directories with the pictures."""

    records: Sequence[Record]
    contrasts: Sequence[Contrast]
    runs: Sequence[Path]


FIGURES: dict[str, Callable[[Material], Iterator[Drawing]]] = {
    "quality": lambda material: quality_drawings(material.records),
    "objective": lambda material: objective_drawings(material.records),
    "terms": lambda material: term_drawings(material.records),
    "recovery": lambda material: recovery_drawings(material.records),
    "progress": lambda material: progress_drawings(material.records),
    "ranks": lambda material: rank_drawings(material.records),
    "defenses": lambda material: defense_drawings(material.records, material.runs),
    "sweep": lambda material: sweep_drawings(material.records),
    "ablation": lambda material: ablation_drawings(material.records, material.contrasts),
    "images": lambda material: sheet_drawings(material.records, material.runs),
}
"""Kind -> what draws all figures of it; the names of their files begin with it, but for `agreement-*` and `grid-*`."""


def draw_all(
    material: Material, out_dir: Path, presentation: Presentation | None = None, kinds: Sequence[str] = ()
) -> list[Path]:
    """Draw all figures of the records, or those of some kinds, as PNG and PDF, each with its CSV; returns the files.

    The pictures on the contact sheets come from the run directories; nothing is drawn of what they lack. RequestError
    for a kind that there is not.
    """
    chosen = [_drawings_of(kind) for kind in kinds or FIGURES]
    # One for all figures, so that an attack has one look in all of them.
    shared = presentation or Presentation()
    return [path for drawings in chosen for path in save_all(drawings(material), out_dir, shared)]


def _drawings_of(kind: str) -> Callable[[Material], Iterator[Drawing]]:
    if kind not in FIGURES:
        raise RequestError(unknown("kind of figure", kind, list(FIGURES)))
    return FIGURES[kind]


def figures_of(material: Material, kind: str, presentation: Presentation | None = None) -> dict[str, Figure]:
    """Name -> figure, for every figure of one kind that the records allow; nothing is written.

    RequestError for a kind that there is not, or of which the records hold nothing to draw.
    """
    shared = presentation or Presentation()
    with styled(shared):  # drawings are made in it too: how many sheets there are depends on the width
        figures = {drawing.name: drawing.draw() for drawing in _drawings_of(kind)(material)}
    if not figures:
        raise RequestError(f"these records hold nothing that a figure of kind {kind} would show")
    return figures
