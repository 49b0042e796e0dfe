"""Draw a figure of a run, as `gradinv plot` does, and hand it over instead of writing it."""

from pathlib import Path

from matplotlib.figure import Figure

from gradinv.benchmark.api.loading import load_run
from gradinv.benchmark.api.results import Run
from gradinv.benchmark.runs import contrasts_of
from gradinv.metrics.figures import Material, figures_of
from gradinv.metrics.records import RunDirectory
from gradinv.metrics.registry import RequestError, unknown


def plot(run: Run | str | Path, kind: str = "quality", name: str | None = None) -> Figure:
    """One figure: `quality`, `objective`, `recovery`, `progress`, `defenses`, `ablation` or `images`.

    A run of several settings has one of each kind for each setting, which `name` chooses (as `gradinv plot` names its
    files). RequestError where there is nothing to draw, or where several could be meant.
    """
    loaded = run if isinstance(run, Run) else load_run(run)
    contrasts = [contrast for path in loaded.paths for contrast in contrasts_of(RunDirectory(path))]
    figures = figures_of(Material(loaded.records, list(dict.fromkeys(contrasts)), loaded.paths), kind)
    if name is None and len(figures) > 1:
        raise RequestError(f"there are {len(figures)} figures of kind {kind}; name one of {', '.join(figures)}")
    chosen = next(iter(figures)) if name is None else name
    if chosen not in figures:
        raise RequestError(unknown("figure", chosen, list(figures)))
    return figures[chosen]
