"""Contact sheets: originals, and beneath them what attacks and their best controls made of them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
