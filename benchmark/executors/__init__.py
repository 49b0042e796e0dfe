"""Where planned trials are carried out: here, in processes, on Ray, on Slurm; and the store that has their records."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
