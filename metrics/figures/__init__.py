"""Figures, each with the table it was drawn from.

A new figure is one file: from `skeleton` it takes `scenes` (the trials by setting, with their titles) and `save_all`,
from `style` the colours; then it is named in `all_figures`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
