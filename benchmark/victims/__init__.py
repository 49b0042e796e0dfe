"""Victims: which network in which state, and how to get it."""
