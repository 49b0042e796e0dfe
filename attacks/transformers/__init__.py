"""Attacks on transformers: the gradient of learnt positions is that of the embedded tokens."""
