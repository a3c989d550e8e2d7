"""Small labelled frames for tests of data: a Lennard-Jones 'ruthenium', whose labels are exact derivatives."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import all_changes
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator

from ru_calc.dataset import Dataset

LJ = {"sigma": 2.35, "epsilon": 0.7, "rc": 6.0, "smooth": True}


class Choosy(LennardJones):
    """Refuses frames of more than two atoms, and gives NaN for fcc's single atom."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        if len(self.atoms) > 2:
            raise RuntimeError("too many\natoms")
        if len(self.atoms) == 1:
            self.results["forces"] = self.results["forces"] * np.nan


def labelled(atoms: Atoms, **results: object) -> Atoms:
    """The atoms with the results given, as a file would bring them."""
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def assert_same_data(found: Dataset, expected: Dataset, tolerance: float = 0.0) -> None:
    """All that a data set holds is the same, numbers within a tolerance or bit for bit; NaN in the same places."""
    for one, other, names in (
        (found, expected, ("energy", "forces", "stress", "weight")),
        (found.structures, expected.structures, ("positions", "cells")),
    ):
        for name in names:
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=0, atol=tolerance, err_msg=name)
    for name in ("config_type", "group_id"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    for name in ("pbc", "counts"):
        np.testing.assert_array_equal(getattr(found.structures, name), getattr(expected.structures, name), err_msg=name)
    assert found.level_of_theory == expected.level_of_theory
    assert found.energy_reference == expected.energy_reference


def lj_frames(count: int = 6, seed: int = 0, config_types: tuple[str, ...] = ("hcp", "fcc")) -> list[Atoms]:
    """Rattled cells of different sizes with energy, forces and stress of Lennard-Jones."""
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(count):
        kind = config_types[k % len(config_types)]
        atoms = bulk("Ru", "hcp", a=2.7, c=4.3) if kind == "hcp" else bulk("Ru", "fcc", a=3.8)
        atoms = atoms.repeat((1 + k % 3, 1, 1))
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        atoms.calc = LennardJones(**LJ)
        results = {name: atoms.calc.get_property(name, atoms) for name in ("energy", "forces", "stress")}
        frame = labelled(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True), **results)
        frame.info = {"config_type": kind, "group_id": f"run_{k // 2}"}
        frames.append(frame)
    return frames


# Settings of a fit of a small network.
SMALL_FIT: dict[str, object] = {
    "model.channels": 8, "model.n_radial": 6, "model.filter_hidden": 6, "model.readout": [4],
    "model.angular_radial": 3, "model.triple": 2, "batch_atoms": 6,
}  # fmt: skip


def quiet(_line: str) -> None:
    """Prints nothing."""
