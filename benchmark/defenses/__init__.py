"""Defenses: what a client does against being inverted, one a file; `base.py` says what each of them is."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
