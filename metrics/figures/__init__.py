"""Figures, each with the table it was drawn from."""
