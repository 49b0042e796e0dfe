"""Victims: the client's networks, in which state, and how they are had: built, trained, or loaded.

A stranger imports `VictimSpec` from `spec`, `load_victim` and `LoadedVictim` from `loading`, `build_network` and
`VictimError` from `networks`, `train_victim` from `training`, `normalise` and `denormalise` from `normalisation`.
"""
