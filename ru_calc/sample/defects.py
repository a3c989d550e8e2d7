"""Vacancies, divacancies and interstitials in small cells of hcp and fcc."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from ru_calc.sample.crystals import CUBE_OF_FCC, supercell
from ru_calc.sample.kind import COMPRESSED_A, Case, Draw, Kind, rattled, scaled_to, strained
from ru_calc.sample.packings import pushed_apart

AMPLITUDES_A = (0.0, 0.05, 0.1, 0.15, 0.2)
# An atom at a site of the perfect lattice pushes its neighbours away to this distance.
INTERSTITIAL_A = 2.1
# In units of the lattice vectors of hcp, whose atoms are at (0, 0, 0) and (1/3, 2/3, 1/2).
INTERSTITIAL_SITES = {
    "octahedral": (2 / 3, 1 / 3, 0.25),
    "tetrahedral": (0, 0, 0.375),
    "basal_octahedral": (2 / 3, 1 / 3, 0.0),
    "basal_crowdion": (0.5, 0, 0),
    "crowdion": (1 / 6, 1 / 3, 0.25),
}
REPEATS = {8: (2, 2, 1), 12: (3, 2, 1), 16: (2, 2, 2)}
DUMBBELLS = {"dumbbell_c": (0, 0, 1), "dumbbell_a": (1, 0, 0)}


def _hcp(sites: int, draw: Draw) -> Atoms:
    return strained(scaled_to(supercell("hcp", REPEATS[sites]), draw.between(0.95, 1.08)), 0.01, draw)


def _vacancy(what: tuple[str, int], draw: Draw) -> Atoms:
    name, sites = what
    atoms = _hcp(sites, draw) if name == "hcp" else strained(supercell("fcc", CUBE_OF_FCC) * (2, 1, 1), 0.02, draw)
    del atoms[0]
    return rattled(atoms, draw.of(AMPLITUDES_A), draw)


def _divacancy(what: tuple[int, int], draw: Draw) -> Atoms:
    """The second vacancy is the neighbour of that rank by distance; sites at one distance count once."""
    sites, rank = what
    atoms = supercell("hcp", REPEATS[sites])
    distances = np.round(atoms.get_distances(0, range(len(atoms)), mic=True), 3)
    second = int(np.flatnonzero(distances == np.unique(distances)[rank + 1])[0])
    atoms = _hcp(sites, draw)
    del atoms[[0, second]]
    return rattled(atoms, draw.of(AMPLITUDES_A), draw)


def _interstitial(what: tuple[int, str], draw: Draw) -> Atoms:
    sites, site = what
    atoms = _hcp(sites, draw)
    unit = atoms.cell.array / np.array(REPEATS[sites])[:, None]
    if site in DUMBBELLS:
        along = DUMBBELLS[site] @ unit
        half = 0.5 * INTERSTITIAL_A * along / np.linalg.norm(along)
        atoms.append("Ru")
        atoms.positions[-1] = atoms.positions[0] - half
        atoms.positions[0] += half
    else:
        atoms.append("Ru")
        atoms.positions[-1] = INTERSTITIAL_SITES[site] @ unit
    rattled(atoms, draw.of((0.03, 0.06, 0.1)), draw)
    atoms.info["site"] = site
    return pushed_apart(atoms, INTERSTITIAL_A, rounds=30)


def _vacancies(sites: int, count: int) -> Kind:
    cases = (Case(sites - 1, ("hcp", sites)),)
    return Kind(f"vacancy{sites - 1}", f"one vacancy of {sites} sites of hcp, rattled", count, cases, _vacancy)


def _divacancies(sites: int, count: int) -> Kind:
    cases = tuple(Case(sites - 2, (sites, rank)) for rank in range(3))
    return Kind(f"divacancy{sites - 2}", f"two vacancies of {sites} sites of hcp, rattled", count, cases, _divacancy)


def _interstitials(sites: int, count: int) -> Kind:
    cases = tuple(Case(sites + 1, (sites, site)) for site in (*INTERSTITIAL_SITES, *DUMBBELLS))
    makes = f"an atom more than {sites} sites of hcp, neighbours pushed away"
    return Kind(f"interstitial{sites + 1}", makes, count, cases, _interstitial, nearest_A=COMPRESSED_A)


DEFECTS = (
    _vacancies(8, 10),
    _vacancies(12, 10),
    _vacancies(16, 10),
    Kind("vacancy_fcc7", "one vacancy of 8 sites of fcc, rattled", 5, (Case(7, ("fcc", 8)),), _vacancy),
    _divacancies(12, 6),
    _divacancies(16, 6),
    _interstitials(8, 7),
    _interstitials(12, 7),
    _interstitials(16, 7),
)
