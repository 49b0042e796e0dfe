"""Figures, each with the table it was drawn from.

A stranger imports `draw_all` from `all_figures`. A new figure is one file: from `skeleton` it takes `scenes` (the
trials by setting, with their titles) and `save_all`, from `style` the colours; then it is named in `all_figures`.
"""
