"""From one number a batch to means, intervals, tests and shares; knows neither records nor boards.

A stranger imports `interval` and `gain_over_controls` from `intervals`, `proportion` from `proportion`, `paired` and
`holm` from `paired`, `optimality` from `optimality`, `recovery` and `share_better` from `recovery`.
"""
