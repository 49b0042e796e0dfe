"""Gradient matching: candidates -> distance and priors -> optimizer step, the machine under most attacks.

What an author of an attack or a variant needs is imported from here; the other files are its parts.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
