"""A run: from a suite to its trials, through executors to records, boards and figures."""
