"""A run: from a suite to its trials, through executors to records, boards and figures.

`load_suite`, `Planner`, `prepare` and `run_plan` are its four steps; `identify` measures finished runs again.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
