"""Families of potentials side by side: what `ru-calc compare` does, in two protocols.

`md`: every family as a potential that dynamics can use, fitted to the same frames for the same time, and measured in
what decides in practice.  `paper`: the pipeline of the paper that this package starts from, for its Table 1.
"""
