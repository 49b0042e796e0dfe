"""One trial: what is specified, what the client sends, what the attacker sees, and what it is worth.

`run_together` runs the trials of a pack, `make_record` joins what was planned and what was measured.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
