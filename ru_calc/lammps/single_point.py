"""Energies, forces and stress of one structure by LAMMPS on some processes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms

from ru_calc.lammps.cells import Box, box_of, write_data
from ru_calc.lammps.launch import quoted, run_quietly
from ru_calc.predictor import Prediction
from ru_calc.structures import Structures
from ru_calc.units import from_voigt, to_voigt

BAR_A3_IN_EV = 1.0 / 1.6021765e6  # by LAMMPS's own constant nktv2p in units metal
VOIGT = [0, 1, 2, 5, 4, 3]  # xx yy zz xy xz yz of LAMMPS in ASE's order
SCRIPT = """\
units metal
atom_style atomic
boundary {boundary}
{before}
read_data data.ru
pair_style ruschnet
pair_coeff * * {tables} Ru
{after}
compute e all pe/atom
compute s all stress/atom NULL virial
compute p all pressure NULL virial
compute total all reduce sum c_e
thermo_style custom step pe c_p[1] c_p[2] c_p[3] c_p[4] c_p[5] c_p[6] vol
thermo_modify format float %.17g
run 0
write_dump all custom found.dump id c_e fx fy fz c_s[1] c_s[2] c_s[3] c_s[4] c_s[5] c_s[6] modify sort id &
    format float %.17g
print "found $(pe:%.17g) $(c_p[1]:%.17g) $(c_p[2]:%.17g) $(c_p[3]:%.17g) $(c_p[4]:%.17g) $(c_p[5]:%.17g) &
$(c_p[6]:%.17g) $(vol:%.17g)"
"""


def evaluate(atoms: Atoms, tables: Path, ranks: int = 1, before: str = "", after: str = "") -> Prediction:
    """One evaluation, in the frame of the structure; stress from LAMMPS's pressure, stresses from `stress/atom`.

    Args:
        tables: see `write_tables`.
        ranks: MPI processes.
        before, after: commands before the box is made, and behind `pair_coeff`.

    Raises:
        LammpsError: LAMMPS failed.
        SettingsError: LAMMPS is not installed, or the plugin could not be compiled.
    """
    box = box_of(atoms)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder / "data.ru", atoms, box)
        script = SCRIPT.format(boundary=box.boundary, tables=quoted([tables.absolute()]), before=before, after=after)
        (folder / "in.ru").write_text(script)
        said = run_quietly(folder / "in.ru", ranks)
        rows = np.loadtxt(folder / "found.dump", skiprows=9, ndmin=2)
    numbers = next(line for line in said.splitlines() if line.startswith("found "))
    return _in_frame(box, atoms, np.array(numbers.split()[1:], dtype=float), rows)


def _in_frame(box: Box, atoms: Atoms, numbers: np.ndarray, rows: np.ndarray) -> Prediction:
    def turned(tensors: np.ndarray) -> np.ndarray:
        return to_voigt(box.rotation @ from_voigt(tensors[..., VOIGT]) @ box.rotation.T) * BAR_A3_IN_EV

    volume = Structures.from_atoms(atoms).volumes[0]
    return Prediction(
        energy=numbers[:1],
        energies=rows[:, 1],
        forces=rows[:, 2:5] @ box.rotation.T,
        stress=-turned(numbers[None, 1:7]) * numbers[7] / volume,
        stresses=turned(rows[:, 5:11]) / volume,
    )
