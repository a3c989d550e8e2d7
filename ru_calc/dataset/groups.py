"""Groups of structures, coarser than `config_type`, by which errors of few frames can still be told."""

from __future__ import annotations

import re

# First match of the config type decides; the names are those of the shipped sets and of `ru-calc sample`.
PATTERNS = {
    "cluster": r"cluster|dimer|trimer|tetramer|isolated",
    "slab": r"slab|surf|adatom|decohesion",
    "liquid": r"liquid|quench|amorph|random",
    "defect": r"vac|sia_|interstitial|stacking|gsf|gamma|defect|perfect",
    "volume scan": r"eos|coa_hcp|hcp_ca|bain",
    "rattled": r"rattle|strain|disp|compressed|expanded|phonon|small_|^md_",
}
OTHER = "other"
GROUPS = (*PATTERNS, OTHER)


def group_of(config_type: str) -> str:
    """One of `GROUPS`."""
    return next((name for name, pattern in PATTERNS.items() if re.search(pattern, config_type)), OTHER)
