"""Leaderboards: from records to tables, and published tables read back and checked.

`columns` says what every column means; `lines` joins each row to its trials for what is typeset: `terminal`, `latex`
and the pages of `metrics/report`. `rows` and `rules` are how a published file is read, `rebuild` compares it with its
records. Boards of label inference have columns of their own: `label_table`, `label_terminal`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
