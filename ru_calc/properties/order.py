"""Order and mobility of atoms: common-neighbour analysis and the Lindemann index."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from ase import Atoms
from scipy.sparse.csgraph import connected_components

from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs

# Between the first and second shells of close-packed ruthenium (2.7 and 3.8 Å).
BOND_CUTOFF_A = 3.3
CLOSE_PACKED = ("421", "422")


def common_neighbour_bonds(atoms: Atoms, cutoff_A: float = BOND_CUTOFF_A) -> Counter[str]:
    """Counts of the Honeycutt–Andersen signatures of all bonds (J. Phys. Chem. 91, 4950 (1987)).

    In a signature "jkl", the two bonded atoms have j common neighbours, with k bonds among these, of which the largest
    connected group has l.  In fcc all bonds are 421, in hcp half are 421 and half 422; around the centre of an
    icosahedron they are 555.

    Args:
        atoms: of any element; a periodic cell must be wider than twice `cutoff_A`.
        cutoff_A: atoms closer than this are bonded, in Å.
    """
    pairs = find_pairs(Structures.from_atoms(atoms, check=False), cutoff_A)
    bonded = np.zeros((len(atoms), len(atoms)), dtype=bool)
    bonded[pairs.first, pairs.second] = bonded[pairs.second, pairs.first] = True
    counts: Counter[str] = Counter()
    for i, j in zip(pairs.first, pairs.second, strict=True):
        common = np.flatnonzero(bonded[i] & bonded[j])
        among = bonded[np.ix_(common, common)]
        groups = connected_components(among, directed=False)[1] if len(common) else common
        bonds = np.bincount(groups[np.nonzero(np.triu(among))[0]], minlength=1)
        counts[f"{len(common)}{bonds.sum()}{bonds.max()}"] += 1
    return counts


def bond_fractions(atoms: Atoms, cutoff_A: float = BOND_CUTOFF_A) -> dict[str, float]:
    """Fractions of the bonds that are `close_packed` (421 or 422), `hcp` (422) and `fivefold` (555).

    All are 0 if there are no bonds.
    """
    counts = common_neighbour_bonds(atoms, cutoff_A)
    total = max(sum(counts.values()), 1)
    return {
        "close_packed": sum(counts[signature] for signature in CLOSE_PACKED) / total,
        "hcp": counts["422"] / total,
        "fivefold": counts["555"] / total,
    }


def lindemann_index(frames: Sequence[np.ndarray]) -> float:
    """Relative root-mean-square fluctuation of the interatomic distances, averaged over all pairs.

    δ = 2/(N(N − 1)) Σ_{i<j} √(⟨r_ij²⟩ − ⟨r_ij⟩²)/⟨r_ij⟩ is below about 0.1 in a solid cluster and above it in a liquid
    one (Kaelberer & Etters, J. Chem. Phys. 66, 3233 (1977)).

    Args:
        frames: positions (n, 3) in Å of the same cluster, not wrapped.
    """
    pairs = np.triu_indices(len(frames[0]), 1)
    distances = np.array([np.linalg.norm(r[pairs[0]] - r[pairs[1]], axis=1) for r in map(np.asarray, frames)])
    return float(np.mean(distances.std(axis=0) / distances.mean(axis=0)))
