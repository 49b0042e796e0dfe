"""The leaderboard as web pages: one table a setting, one page a row.

A stranger imports `write_html` from `site`. `pages` turns rows into plain values for `templates/`, `strips` into
pictures, `charts` into lines; the templates compute nothing.
"""
