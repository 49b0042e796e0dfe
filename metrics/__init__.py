"""From (originals, reconstructions) to numbers, and from records to tables and pictures; knows no attack."""
