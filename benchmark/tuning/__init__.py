"""Tuning: hyperparameters sought on tuning images, with the same means for every attack, kept as a preset file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
