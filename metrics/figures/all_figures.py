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
from gradinv.metrics.figures.rows import grant_drawings, victim_drawings
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


class Kind(NamedTuple):
    """A kind of figure: what draws all of it, and in words what it is drawn from."""

    drawings: Callable[[Material], Iterator[Drawing]]
    needs: str


FIGURES: dict[str, Kind] = {
    "quality": Kind(lambda material: quality_drawings(material.records), "trials with values"),
    "objective": Kind(lambda material: objective_drawings(material.records), "trials with values"),
    "terms": Kind(lambda material: term_drawings(material.records), "trials that recorded the terms of an objective"),
    "recovery": Kind(lambda material: recovery_drawings(material.records), "trials with PSNR or SSIM"),
    "progress": Kind(lambda material: progress_drawings(material.records), "trials that kept snapshots"),
    "ranks": Kind(lambda material: rank_drawings(material.records), "trials with a judge of identity"),
    "defenses": Kind(
        lambda material: defense_drawings(material.records, material.runs), "a setting under two defenses or more"
    ),
    "grants": Kind(
        lambda material: grant_drawings(material.records), "one setting in which two things or more were granted"
    ),
    "victims": Kind(lambda material: victim_drawings(material.records), "three networks or more in one setting"),
    "sweep": Kind(
        lambda material: sweep_drawings(material.records),
        "three values or more of a number of an attack, defense, victim or update, or of a count, all else being equal",
    ),
    "ablation": Kind(
        lambda material: ablation_drawings(material.records, material.contrasts),
        "a suite with contrasts, or an attack with several agents",
    ),
    "images": Kind(lambda material: sheet_drawings(material.records, material.runs), "trials with values"),
}
"""Kind -> how it is drawn; the names of their files begin with it, but for `agreement-*` and `grid-*`."""


def draw_all(
    material: Material, out_dir: Path, presentation: Presentation | None = None, kinds: Sequence[str] = ()
) -> list[Path]:
    """Draw all figures of the records, or those of some kinds, as PNG and PDF, each with its CSV; returns the files.

    The pictures on the contact sheets come from the run directories; nothing is drawn of what they lack. RequestError
    for a kind that there is not.
    """
    chosen = [_kind(kind).drawings for kind in kinds or FIGURES]
    # One for all figures, so that an attack has one look in all of them.
    shared = presentation or Presentation()
    return [path for drawings in chosen for path in save_all(drawings(material), out_dir, shared)]


def without_figure(kind: str) -> str:
    """In one line, that there is no figure of a kind and what it needs; RequestError for a kind that there is not."""
    return f"no figure of kind {kind} in these records: it needs {_kind(kind).needs}"


def _kind(name: str) -> Kind:
    if name not in FIGURES:
        raise RequestError(unknown("kind of figure", name, list(FIGURES)))
    return FIGURES[name]


def figures_of(material: Material, kind: str, presentation: Presentation | None = None) -> dict[str, Figure]:
    """Name -> figure, for every figure of one kind that the records allow; nothing is written.

    RequestError for a kind that there is not, or of which the records hold nothing to draw.
    """
    shared = presentation or Presentation()
    with styled(shared):  # drawings are made in it too: how many sheets there are depends on the width
        figures = {drawing.name: drawing.draw() for drawing in _kind(kind).drawings(material)}
    if not figures:
        raise RequestError(without_figure(kind))
    return figures
