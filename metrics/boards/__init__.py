"""Leaderboards: from records to tables, and published tables read back and checked.

A stranger imports `leaderboard` and `write_board` from `leaderboard`, `read_board` from `image_table`, `check_board`
from `check`. `columns` says what every column means; `lines` joins each row to its trials for what is typeset:
`terminal`, `latex` and the pages of `metrics/report`. `rows` and `rules` are how a published file is read, `rebuild`
compares it with its records. Boards of label inference have their own columns: `label_board`, `label_terminal`.
"""
