from .all_figures import (
    FIGURES as FIGURES,
    Material as Material,
    draw_all as draw_all,
    figures_of as figures_of,
    without_figure as without_figure,
)
from .label_inference import draw_label_figure as draw_label_figure
from .presentation import (
    WIDTHS as WIDTHS,
    Presentation as Presentation,
)
