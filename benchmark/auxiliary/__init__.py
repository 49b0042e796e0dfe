"""What public images of the client's domain teach an attacker: an autoencoder, trained here and kept."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
