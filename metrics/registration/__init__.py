"""Aligning images: one similarity a pair of images, and the identity where none can be trusted.

A stranger imports from `align`: `align(moving, fixed)`, the `Alignment` that it returns, and `warp`, which reads images
through transforms. `direct` holds the optimisation underneath. To *register* is a word for entries; images are aligned.
"""
