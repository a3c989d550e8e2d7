"""A name for a geometry."""

from __future__ import annotations

import hashlib

import numpy as np
from ase import Atoms


def geometry_hash(atoms: Atoms) -> str:
    """Sixteen hexadecimal digits from species, cell and positions rounded to 1e-6 Å, and pbc."""
    digest = hashlib.sha256()
    for length in (atoms.cell.array, atoms.positions):
        digest.update((np.round(length * 1e6) + 0.0).astype("<i8").tobytes())
    digest.update(atoms.numbers.astype("<i8").tobytes() + atoms.pbc.astype("u1").tobytes())
    return digest.hexdigest()[:16]
