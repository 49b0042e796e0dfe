"""Draw a figure of a run, as `gradinv plot` does, and hand it over instead of writing it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from gradinv.benchmark.api.loading import load_run
from gradinv.benchmark.api.results import Run
from gradinv.benchmark.runs import contrasts_of
from gradinv.metrics.figures import WIDTHS, Material, Presentation, figures_of
from gradinv.metrics.records import RunDirectory, selected
from gradinv.metrics.registry import RequestError, unknown

_KEYS: Mapping[str, str] = {}


def plot(
    run: Run | str | Path,
    kind: str = "quality",
    name: str | None = None,
    *,
    attacks: Sequence[str] = (),
    names: Mapping[str, str] = _KEYS,
    style: str | Path | None = None,
    width: Literal["column", "page"] | float | None = None,
    titles: bool = True,
) -> Figure:
    """One figure, of a kind of `gradinv plot`: `quality`, `objective`, `terms`, `recovery`, `progress`, `ranks`,
    `defenses`, `sweep`, `ablation`, `images`.

    A run of several settings has one of each kind for each setting, which `name` chooses (as `gradinv plot` names its
    files). `attacks` are keys or wildcards, in the order of the figure; `names` are keys with names for display, in the
    order of their looks; `style` is a matplotlib style file; `width` is of a column, of a page, or in inches.
    RequestError where there is nothing to draw, or where several could be meant.
    """
    loaded = run if isinstance(run, Run) else load_run(run)
    contrasts = [contrast for path in loaded.paths for contrast in contrasts_of(RunDirectory(path))]
    inches = WIDTHS[width] if isinstance(width, str) else width
    presentation = Presentation(None if style is None else Path(style), inches, titles, names)
    material = Material(selected(loaded.records, attacks), list(dict.fromkeys(contrasts)), loaded.paths)
    figures = figures_of(material, kind, presentation)
    if name is None and len(figures) > 1:
        raise RequestError(f"there are {len(figures)} figures of kind {kind}; name one of {', '.join(figures)}")
    chosen = next(iter(figures)) if name is None else name
    if chosen not in figures:
        raise RequestError(unknown("figure", chosen, list(figures)))
    return figures[chosen]
