"""Common-neighbour bonds and Lindemann's index."""

import numpy as np
import pytest
from ase import Atoms
from ase.cluster import Icosahedron

from ru_calc.properties import bond_fractions, common_neighbour_bonds, hcp_crystal, lindemann_index, phase_crystal


def test_fcc_bonds_are_421_and_hcp_bonds_half_422():
    """Honeycutt & Andersen, J. Phys. Chem. 91, 4950 (1987)."""
    fcc = phase_crystal("fcc", 13.9) * (5, 5, 5)
    assert common_neighbour_bonds(fcc) == {"421": 6 * 125}
    hcp = hcp_crystal(2.7, 4.4) * (4, 4, 3)
    assert common_neighbour_bonds(hcp) == {"421": 3 * 96, "422": 3 * 96}
    assert bond_fractions(hcp) == {"close_packed": 1.0, "hcp": 0.5, "fivefold": 0.0}


def test_the_centre_of_an_icosahedron_has_fivefold_bonds():
    atoms = Icosahedron("Ru", noshells=2, latticeconstant=3.8)
    assert len(atoms) == 13
    assert common_neighbour_bonds(atoms)["555"] == 12


def test_displaced_atoms_lose_their_bonds():
    hcp = hcp_crystal(2.7, 4.4) * (4, 4, 3)
    hcp.rattle(0.5, seed=0)
    assert bond_fractions(hcp)["close_packed"] < 0.3


def test_no_bonds_give_no_shares():
    apart = Atoms("Ru2", positions=[[0, 0, 0], [9, 0, 0]])
    assert bond_fractions(apart) == {"close_packed": 0.0, "hcp": 0.0, "fivefold": 0.0}


def test_the_lindemann_index_of_one_vibrating_bond():
    """A distance of 2 + 0.2 cos t fluctuates by 0.2/√2 about 2."""
    phases = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    frames = [np.array([[0, 0, 0], [2 + 0.2 * np.cos(t), 0, 0]]) for t in phases]
    assert lindemann_index(frames) == pytest.approx(0.2 / np.sqrt(2) / 2)
    assert lindemann_index(frames[:1] * 5) == 0
