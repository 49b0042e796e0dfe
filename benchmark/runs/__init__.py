"""A run: from a suite to its trials, through executors to records, boards and figures.

A stranger imports `load_suite` and `Suite` from `suite`, `Planner` and `Plan` from `plan`, `prepare` from `prepare`,
`run_plan` and `RunOptions` from `runner`; `identify` measures finished runs again, `rerun` says how to repeat a row.
"""
