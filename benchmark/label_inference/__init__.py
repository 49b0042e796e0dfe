"""Label inference on many batches, apart from any reconstruction."""
