"""What is stored under `forces` and `energy` is the calculator's own, whatever constraints do to the motion."""

import numpy as np
import pytest
from ase.constraints import FixAtoms, Hookean
from ase.io import read
from toy import PairPotential

from ru_calc.dataset.convert import convert
from ru_calc.md import MDOutput, MDSettings, resume_md, run_md
from ru_calc.structures.build import build_structure

FIXED = [0, 5, 9]


def constrained():
    atoms = build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))
    atoms.rattle(0.1, seed=1)
    # A spring that is stretched adds 0.5 k x² to ASE's energy, and forces on its ends.
    spring = Hookean(a1=1, a2=2, k=5.0, rt=1.0)
    atoms.set_constraint([FixAtoms(FIXED), spring])
    return atoms


@pytest.mark.parametrize("name", ["md.extxyz", "md.traj", "md.h5"])
def test_frames_of_a_run_with_constraints_hold_raw_labels(tmp_path, name):
    output = MDOutput(tmp_path / "run", trajectory=name, trajectory_every=2, checkpoint_every=2)
    run_md(constrained(), PairPotential(), MDSettings("nve", temperature_K=600, steps=4), output)
    resume_md(tmp_path / "run", PairPotential(), steps=6)
    dataset = convert([tmp_path / "run" / name]).dataset
    assert len(dataset) == 4
    for k in range(4):
        atoms = dataset.atoms(k)
        stored = atoms.calc.results
        atoms.calc = PairPotential()
        np.testing.assert_allclose(stored["forces"], atoms.get_forces(), atol=1e-6)
        assert stored["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        assert np.abs(stored["forces"][FIXED]).max() > 0.05
    np.testing.assert_allclose(dataset.atoms(3).positions[FIXED], dataset.atoms(0).positions[FIXED], atol=1e-8)
    last = read(tmp_path / "run" / "final.extxyz")
    np.testing.assert_allclose(last.calc.results["forces"], dataset.atoms(3).calc.results["forces"], atol=1e-6)
