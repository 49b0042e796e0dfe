"""What is said before a run: how long it will take, here or on a card elsewhere, and whether memory suffices."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
