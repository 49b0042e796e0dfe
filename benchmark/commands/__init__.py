"""The verbs of the `gradinv` command, by subject; each imports torch only when it is called."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
