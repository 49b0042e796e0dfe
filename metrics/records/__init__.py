"""Records: what a trial leaves behind, on disk and read back."""
