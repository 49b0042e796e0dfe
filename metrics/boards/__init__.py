"""Leaderboards: from records to tables, and published tables read back and checked."""
