"""gradinv: the benchmark of gradient-inversion attacks. Rooms: `gradinv.attacks`, `.benchmark`, `.metrics`."""
