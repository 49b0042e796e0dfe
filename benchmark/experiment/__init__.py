"""One trial: what is specified, what the client sends, what the attacker sees, and what it is worth.

A stranger imports `TrialSpec` and `PlannedTrial` from `spec`, `run_together` and `make_record` from `trial`, `Outcome`
from `outcome`, `ImpossibleCellError` from `client`, `CONTROLS` from `controls`.
"""
