"""Image metrics: from reconstructions and originals to numbers."""
