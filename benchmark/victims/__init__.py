"""Victims: the client's networks, in which state, and how they are had: built, trained, or loaded.

A specification names one (`VictimSpec`), `load_victim` gets it; networks of our own and timm's go through
`build_network`, which makes them twice differentiable.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
