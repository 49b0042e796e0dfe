"""Aligning images: one similarity a pair of images, and the identity where none can be trusted.

`direct` holds the optimisation underneath. To *register* is a word for entries; images are aligned.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
