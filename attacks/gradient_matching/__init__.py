"""Gradient matching: candidates -> distance and priors -> optimizer step, the machine under most attacks."""
