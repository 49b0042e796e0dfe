from .all_figures import draw_all as draw_all
from .label_inference import draw_label_figure as draw_label_figure
