"""One attack against another: paired differences, and the verdict in words.

`compare` pairs two attacks on one metric, `meetings` decides which samples may be compared at all, `table` prints.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
