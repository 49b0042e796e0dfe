"""Label inference on many private batches, apart from any reconstruction: how often each rule finds the labels.

The rules themselves stand in `gradinv.attacks.label_rules`: a new one is a class there or in a plug-in.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
