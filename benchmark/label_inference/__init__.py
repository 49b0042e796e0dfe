"""Label inference on many private batches, apart from any reconstruction: how often a rule finds the labels.

The rules themselves stand in `gradinv.attacks.labels`: a new rule is one function there, entered in `RULES`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
