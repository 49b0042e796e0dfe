"""Aligning images: a transform for each pair, and the identity where none can be trusted."""
