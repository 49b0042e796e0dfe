"""Label inference on many private batches, apart from any reconstruction: how often a rule finds the labels.

A stranger imports `infer_labels_of` from `run`; its cells become a table in `gradinv.metrics.boards.label_board`. The
rules themselves stand in `gradinv.attacks.labels`: a new rule is one function there, entered in `RULES`.
"""
