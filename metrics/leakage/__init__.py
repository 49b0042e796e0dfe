"""What leaked, and from where: the verdict on an attack beside its controls, over pixels, structure and identity.

`leakage_of` tests, the words say what came out.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
