"""What people call from Python: run, load, evaluate, compare, plot; `gradinv` itself offers these names.

The command does the same with the same parts. Results show themselves in a notebook (`display.py`).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
