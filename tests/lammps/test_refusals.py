"""What the pair style refuses, in words that say the way out, on every process at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from ru_calc.checks.structures import crystal
from ru_calc.lammps.launch import LammpsError, run_quietly
from ru_calc.lammps.single_point import evaluate
from ru_calc.lammps.tables_file import write_tables
from ru_calc.modelfiles.read import read_model_file

pytestmark = pytest.mark.usefixtures("lammps_plugin")
BOX = """\
units {units}
atom_style {style}
{first}
lattice fcc 3.8
region box block 0 2 0 2 0 2
create_box {types} box {more}
create_atoms 1 box
"""
REFUSED = {
    "units": (dict(units="real"), "", "computes in units metal, not real"),
    "newton": (dict(first="newton off"), "", "needs newton on"),
    "arguments": ({}, "pair_style ruschnet 5.0\npair_coeff * * {tables} Ru",
                  "takes no arguments, not '5.0'; the model is named by pair_coeff"),
    "types": ({}, "pair_coeff 1 1 {tables} Ru", r"must start with \* \* for pair style ruschnet"),
    "no element": ({}, "pair_coeff * * {tables}", r"pair_coeff \* \* TABLES Ru, with Ru once"),
    "element": ({}, "pair_coeff * * {tables} Cu", "names the element Cu, and the model knows Ru only"),
    "no type": ({}, "pair_coeff * * {tables} NULL", "names the element NULL"),
    "few elements": (dict(types=2), "pair_coeff * * {tables} Ru", "names 1 elements, and there are 2 atom types"),
    "many elements": ({}, "pair_coeff * * {tables} Ru Ru", "names 2 elements, and there are 1 atom types"),
    "model": ({}, "pair_coeff * * {tables} Ru model 0123abcd",
              "is of the model {sha256}, and pair_coeff asks for 0123abcd"),
    "excluded pairs": ({}, "neigh_modify exclude group all all", "needs all pairs: leave out neigh_modify exclude"),
    "included group": ({}, "group half id <= 16\natom_modify first half\nneigh_modify include half",
                       "needs all pairs: leave out neigh_modify exclude and include"),
    "ghosts of a group": ({}, "group half id <= 16\natom_modify first half\ncomm_modify group half",
                          "needs all ghosts within its cutoff: leave out comm_modify mode and group"),
    "ghosts by collections": ({}, "neighbor 2.0 multi\ncomm_modify mode multi", "leave out comm_modify mode and group"),
    "bonds": (dict(style="bond", more="bond/types 1 extra/bond/per/atom 12"),
              "bond_style zero\nbond_coeff *\ncreate_bonds many all all 1 2.0 2.8", "takes atoms without bonds"),
    "pairs of another style": (dict(types=2), "pair_style hybrid ruschnet zero 5.0\n"
                               "pair_coeff * * ruschnet {tables} Ru Ru\npair_coeff 1 2 zero",
                               "another pair_coeff has taken those of .* use hybrid/overlay"),
    "centroid stress": ({}, "compute c all centroid/stress/atom NULL\ncompute d all reduce sum c_c[1]\n"
                        "thermo_style custom step c_d", "does not support compute centroid/stress/atom"),
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "ru.tables"
    write_tables(path, "fast")
    return path


def script(tables: Path, commands: str, units: str = "metal", style: str = "atomic", types: int = 1, first: str = "",
           more: str = "") -> str:  # fmt: skip
    lines = BOX.format(units=units, style=style, types=types, first=first, more=more)
    lines += "" if "pair_style" in commands else "pair_style ruschnet\n"
    lines += "" if "pair_coeff" in commands else f"pair_coeff * * {tables} Ru\n"
    return f"{lines}{commands.format(tables=tables)}\nrun 0\n"


def run(folder: Path, text: str, ranks: int = 1) -> str:
    (folder / "in.ru").write_text(text)
    return run_quietly(folder / "in.ru", ranks)


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses(name: str, tables: Path, tmp_path: Path) -> None:
    box, commands, words = REFUSED[name]
    with pytest.raises(LammpsError, match=words.format(sha256=read_model_file("fast").sha256)):
        run(tmp_path, script(tables, commands, **box))


def test_the_same_script_without_what_is_refused_runs(tables: Path, tmp_path: Path) -> None:
    assert "Loop time" in run(tmp_path, script(tables, ""))
    assert "Loop time" in run(tmp_path, script(tables, "pair_coeff * * {tables} Ru Ru", types=2))
    hash_ = read_model_file("fast").sha256
    assert "Loop time" in run(tmp_path, script(tables, f"pair_coeff * * {tables} Ru model {hash_[:8]}"))


def test_an_error_on_one_process_ends_all(tables: Path, tmp_path: Path) -> None:
    """Two atoms at the same place, in the domain of one of the two processes."""
    twice = "create_atoms 1 single 0.1 0.1 0.1\ncreate_atoms 1 single 0.1 0.1 0.1"
    with pytest.raises(LammpsError, match=r"the energy of ruschnet is (-?nan|inf): look at the positions"):
        run(tmp_path, script(tables, twice), ranks=2)


def test_a_ghost_cutoff_that_is_too_short_is_made_long_enough(tables: Path) -> None:
    atoms: Atoms = crystal(16)
    one, two = (evaluate(atoms, tables, 2, after=after) for after in ("", "comm_modify cutoff 3.0"))
    assert np.array_equal(one.forces, two.forces)
