"""The audit of somebody's own model and images: what leaks from the updates, and which defenses stop it at which price.

`inputs` makes both known, `design` fits suites into the time, `carrying_out` runs them, `findings` says what came out.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
