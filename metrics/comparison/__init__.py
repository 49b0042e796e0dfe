"""One attack against another: paired differences, and the verdict in words.

A stranger imports `findings_of` from `findings`, `verdict` from `verdict`, `Contrast` and `contrasted` from
`contrasts`. `compare` pairs two attacks on one metric, `meetings` decides which samples may be compared at all,
`table` prints.
"""
