"""The verbs of the `gradinv` command, by subject; each imports torch only when it is called."""
