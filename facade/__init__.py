"""gradinv: the benchmark of gradient-inversion attacks. Rooms: `gradinv.attacks`, `.benchmark`, `.metrics`.

For Python: `run` and `trial` measure, `load_run`, `load_board`, `load_data`, `load_victim` and `load_leak` read,
`evaluate`, `compare` and `plot` look at what was measured; docs/python.md shows them. Nothing heavy is imported before
the first of them is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
