"""What a defense costs the model: a short federated training with it, beside the same one without it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
