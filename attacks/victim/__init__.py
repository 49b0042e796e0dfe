"""The network as an attack may use it: its updates, statistics and classifier, and the count of what was spent."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
