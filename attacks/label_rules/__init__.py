"""Rules of label inference: which classes were in a batch, and how often, from the classifier's gradient.

A rule is a class in a file of this room, or registered by anybody else's: its estimate of the counts, what it assumes,
and the paper it comes from. Assumptions are checked on the network and the update before a rule is asked.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
