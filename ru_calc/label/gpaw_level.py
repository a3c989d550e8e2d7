"""The preset `gpaw`: plane waves, PBE, 16-electron PAW of ruthenium.  This is the only place that fixes the level."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from ru_calc.errors import DataError
from ru_calc.structures import widest_gaps_A
from ru_calc.units import EV_PER_A3_IN_GPA

PAW_DATA = "1.2.1"
CUTOFF_EV = 400.0
SMEARING_EV = 0.1
LEVEL = f"GPAW PW {CUTOFF_EV:.0f} eV PBE Ru.PBE 16e gpaw-data {PAW_DATA} Fermi-Dirac {SMEARING_EV} eV"
# Pressure of the finite basis: 400 eV against 800 eV, 58.4 on hcp and 60.3 on a rattled, strained cell.
BASIS_GPA_A3_PER_ATOM = 59.3
SYMMETRIC = ("eos_", "hcp_ca", "bain")
KINDS = ("bulk", "slab", "wire", "cluster")  # by the number of directions with vacuum
VACUUM_A = 7.0
ATTEMPTS = 3
LIMIT_MIN = 25.0
HIGH_SPIN, LOW_SPIN, ATOM_SPIN = 3.0, 1.0, 4.0  # starting moments per atom, in Bohr magnetons


def vacuum_axes(atoms: Atoms) -> tuple[bool, ...]:
    """Whether there are 7 Å or more of vacuum along each lattice vector.

    `info["kind"]`, one of `KINDS`, decides how many directions have it: those with the widest gaps.

    Raises:
        DataError: the kind is unknown, the cell lacks three independent vectors, or vacuum where it is not periodic.
    """
    if atoms.cell.rank < 3:
        raise DataError("plane waves need a cell of three vectors: give it one, with vacuum around a cluster")
    gaps = widest_gaps_A(atoms)
    narrow = np.flatnonzero(~atoms.pbc & (gaps < VACUUM_A))
    if len(narrow):
        raise DataError(f"it is not periodic along vector {narrow[0]}, so it needs {VACUUM_A:g} Å of vacuum there")
    kind = atoms.info.get("kind")
    if kind is None:
        return tuple(bool(gap >= VACUUM_A) for gap in gaps)
    if kind not in KINDS:
        raise DataError(f"its kind is {kind!r}; it must be one of {', '.join(KINDS)}, or left out")
    widest = np.argsort(-gaps, kind="stable")[: KINDS.index(kind)]
    return tuple(bool(axis in widest) for axis in range(3))


def kind_of(atoms: Atoms) -> str:
    """One of `KINDS`; see `vacuum_axes`."""
    return KINDS[sum(vacuum_axes(atoms))]


def kpoint_density_A(atoms: Atoms) -> float:
    """Density d of k-points: n_i = ceil(d |b_i|) with reciprocal vectors b_i (2π included).

    Cells of symmetric scans, by their `config_type`, have the highest, so that small differences of energy are right.
    """
    config_type, n = str(atoms.info.get("config_type", "")), len(atoms)
    if config_type.startswith(SYMMETRIC):
        return 6.0
    if n <= 2:
        return 4.5
    if n <= 4 or kind_of(atoms) == "slab" or config_type in ("stacking", "gsf_basal"):
        return 4.0
    return 3.5 if n <= 9 else 3.0


def kpoint_grid(atoms: Atoms) -> tuple[int, int, int]:
    """Γ-centred grid with one point along each direction with vacuum; a |b_i| d of 0.15 above a whole number is cut."""
    reciprocal = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal(), axis=1)
    counts = np.maximum(1, np.ceil(kpoint_density_A(atoms) * reciprocal - 0.15)).astype(int)
    a, b, c = np.where(vacuum_axes(atoms), 1, counts).tolist()
    return a, b, c


def spin_starts(atoms: Atoms) -> list[float | None]:
    """Starting moments per atom, in Bohr magnetons, of the states of which the lowest counts; None is without spin.

    Clusters, which are magnetic, start from a high and a low spin, an atom by Hund's rule; all else is without spin.
    `info["spin"]` decides instead, if it is there.
    """
    if not bool(atoms.info.get("spin", kind_of(atoms) == "cluster")):
        return [None]
    return [ATOM_SPIN] if len(atoms) == 1 else [HIGH_SPIN, LOW_SPIN]


def arguments(atoms: Atoms, spin: bool, attempt: int) -> dict[str, Any]:
    """Arguments of `gpaw.GPAW`; attempts 1 and 2 mix more carefully after a failure to converge."""
    kind = kind_of(atoms)
    niter, mixer, maxiter = (
        (1, {"name": "msr1", "beta": 0.15}, 80),
        (2, {"name": "msr1", "beta": 0.05}, 150),
        (2, {"name": "pulay", "beta": 0.03, "nmaxold": 8, "weight": 50.0}, 250),
    )[min(attempt, ATTEMPTS - 1)]
    vacuum = kind != "bulk"  # one Davidson step converges slowly there
    given: dict[str, Any] = dict(
        mode={"name": "pw", "ecut": CUTOFF_EV}, xc="PBE", kpts={"size": kpoint_grid(atoms), "gamma": True},
        occupations={"name": "fermi-dirac", "width": SMEARING_EV}, spinpol=spin,
        convergence={"eigenstates": 1e-5 if vacuum else 1e-6, "density": 5e-5},
        eigensolver={"name": "davidson", "niter": 2 if vacuum else niter}, mixer=mixer, maxiter=maxiter,
    )  # fmt: skip
    if spin and kind == "cluster":
        given["symmetry"] = "off"
    if spin and len(atoms) == 1:
        given["hund"] = True
    return given


def without_basis_pressure(stress: np.ndarray, atoms: Atoms) -> np.ndarray:
    """Stress (6,) in eV/Å³ without the pressure that the finite basis adds."""
    corrected = np.array(stress, dtype=float)
    corrected[:3] -= BASIS_GPA_A3_PER_ATOM * len(atoms) / atoms.get_volume() / EV_PER_A3_IN_GPA
    return corrected
