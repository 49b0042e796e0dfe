"""A leaderboard as web pages."""
