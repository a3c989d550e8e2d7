"""Sites that are partly occupied, which no set of atoms stands for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms

from ru_calc.errors import DataError

WHOLE = 0.999


def check_occupancy(atoms: Atoms, where: str = "") -> None:
    """Refuses a frame with a site that is not fully one element.

    Raises:
        DataError: naming the site.
    """
    sites = atoms.info.get("occupancy")
    if isinstance(sites, Mapping):
        for site, elements in sites.items():
            if isinstance(elements, Mapping) and elements and max(map(float, elements.values())) < WHOLE:
                shares = " and ".join(f"{100 * float(share):.4g} % {name}" for name, share in elements.items())
                raise DataError(
                    f"{where}site {site} is {shares}; a structure must have one element on each site: make an ordered "
                    "cell"
                )
    for name in ("occupancy", "occupancies"):
        shares_of_atoms = np.asarray(atoms.arrays.get(name, ()), dtype=float)
        partial = np.flatnonzero((shares_of_atoms > 0) & (shares_of_atoms < WHOLE))
        if len(partial):
            k = int(partial[0])
            raise DataError(
                f"{where}site {k} is {100 * shares_of_atoms[k]:.4g} % {atoms.symbols[k]}; a structure must have one "
                "element on each site: make an ordered cell"
            )
