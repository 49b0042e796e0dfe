"""What an attack may see (Leak), under which grants (ThreatModel), and what it returns (Reconstruction).

Nothing else crosses the line between the client and the attacker.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
