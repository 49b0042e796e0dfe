"""Data sets: where images come from, and the private batches that are drawn from them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
