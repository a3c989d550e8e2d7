"""Families of potentials side by side, as `ru-calc compare` shows them, in two protocols.

`md`: every family as a potential for dynamics, fitted to the same frames for the same time, and tested for accuracy,
speed and stability.  `paper`: the pipeline of the paper that this package started from, for its Table 1.
"""
