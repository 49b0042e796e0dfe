"""The leaderboard as web pages: one table a setting, one page a row.

`pages` turns rows into plain values for `templates/`, `strips` into pictures, `charts` into lines; the templates
compute nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
