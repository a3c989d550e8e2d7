"""Reading what ASE reads: which labels are taken, and what is refused by file and frame."""

from __future__ import annotations

import gzip
import shutil
from operator import delitem, setitem

import ase.db
import numpy as np
import pytest
from ase import Atoms, units
from ase.constraints import FixAtoms
from ase.io import write
from labelled import assert_same_data, labelled, lj_frames

from ru_calc.dataset import Dataset
from ru_calc.dataset.convert import ConvertSettings, clean_frame, convert
from ru_calc.dataset.layouts import read_frames
from ru_calc.dataset.layouts.reader import OPENERS
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError

# Two files by hand in VASP's formats: 2 atoms, one ionic step.  VASP counts compression positive, in kB.
VASPRUN = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <kpoints><varray name="kpointlist"><v> 0 0 0 </v></varray></kpoints>
 <atominfo><atoms> 2 </atoms><types> 1 </types>
  <array name="atoms"><set><rc><c>Ru</c><c> 1</c></rc><rc><c>Ru</c><c> 1</c></rc></set></array>
 </atominfo>
 <structure name="initialpos"><crystal><varray name="basis">
   <v> 3.0 0.0 0.0 </v><v> 0.0 3.0 0.0 </v><v> 0.0 0.0 3.0 </v></varray></crystal>
  <varray name="positions"><v> 0.0 0.0 0.0 </v><v> 0.5 0.5 0.5 </v></varray>
 </structure>
 <calculation>
  <scstep><energy><i name="e_fr_energy"> -18.5 </i><i name="e_wo_entrp"> -18.3 </i><i name="e_0_energy"> -18.4 </i>
  </energy></scstep>
  <structure><crystal><varray name="basis">
   <v> 3.0 0.0 0.0 </v><v> 0.0 3.0 0.0 </v><v> 0.0 0.0 3.0 </v></varray></crystal>
  <varray name="positions"><v> 0.0 0.0 0.0 </v><v> 0.5 0.5 0.5 </v></varray></structure>
  <varray name="forces"><v> 1.0 2.0 3.0 </v><v> -1.0 -2.0 -3.0 </v></varray>
  <varray name="stress"><v> 100.0 1.0 2.0 </v><v> 1.0 200.0 3.0 </v><v> 2.0 3.0 300.0 </v></varray>
  <energy><i name="e_fr_energy"> -18.5 </i><i name="e_wo_entrp"> -18.3 </i><i name="e_0_energy"> -18.4 </i></energy>
 </calculation>
</modeling>
"""
OUTCAR = """ vasp.6.3.0 18Jan22
 POTCAR:    PAW_PBE Ru 04Feb2005
 POTCAR:    PAW_PBE Ru 04Feb2005
   ISPIN  =      1    spin polarized calculation?
   ions per type =               2
   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=     20
 k-points in reciprocal lattice and weights: Gamma
   0.00000000  0.00000000  0.00000000       1.000
--------------------------------------- Iteration      1(   1)  ---------------------------------------
  in kB     100.00000   200.00000   300.00000     1.00000     3.00000     2.00000
      direct lattice vectors                 reciprocal lattice vectors
     3.000000000  0.000000000  0.000000000     0.333333333  0.000000000  0.000000000
     0.000000000  3.000000000  0.000000000     0.000000000  0.333333333  0.000000000
     0.000000000  0.000000000  3.000000000     0.000000000  0.000000000  0.333333333
 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
      0.00000      0.00000      0.00000         1.000000      2.000000      3.000000
      1.50000      1.50000      1.50000        -1.000000     -2.000000     -3.000000
 -----------------------------------------------------------------------------------
  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  =       -18.50000000 eV

  energy  without entropy=      -18.30000000  energy(sigma->0) =      -18.40000000
"""


@pytest.mark.parametrize(("name", "tolerance"), [("a.extxyz", 1e-7), ("a.xyz", 1e-7), ("a.traj", 0.0), ("a.db", 1e-12)])
def test_labels_come_through_every_format(tmp_path, name, tolerance):
    frames = lj_frames()
    if name.endswith(".db"):
        with ase.db.connect(tmp_path / name) as database:
            for atoms in frames:
                database.write(atoms, key_value_pairs=atoms.info)
    else:
        write(tmp_path / name, frames, format="extxyz" if "xyz" in name else None)
    result = convert([tmp_path / name])
    assert_same_data(result.dataset, Dataset.from_atoms(frames), tolerance)
    assert result.energies in ({"energy": len(frames)}, {"free_energy": len(frames)})


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_compressed_files_are_read_as_plain_ones(tmp_path, suffix):
    write(tmp_path / "a.extxyz", lj_frames())
    with open(tmp_path / "a.extxyz", "rb") as plain, OPENERS[suffix](tmp_path / f"a.extxyz{suffix}", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    paths = ([tmp_path / "a.extxyz"], [tmp_path / f"a.extxyz{suffix}"])
    assert_same_data(*(convert(path).dataset for path in paths))


@pytest.mark.parametrize(("name", "text"), [("vasprun.xml", VASPRUN), ("OUTCAR", OUTCAR)])
def test_vasp_files_give_the_force_consistent_energy_and_tension_positive(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    dataset = convert([tmp_path / name]).dataset
    assert dataset.energy.tolist() == [-18.5]
    assert convert([tmp_path / name], ConvertSettings(Reading(energy_key=("energy",)))).dataset.energy.tolist() == [
        -18.4
    ]
    np.testing.assert_array_equal(dataset.forces, [[1, 2, 3], [-1, -2, -3]])
    # xx yy zz yz xz xy, tension positive, 10 kB = 1 GPa
    np.testing.assert_allclose(dataset.stress, [np.array([-10, -20, -30, -0.3, -0.2, -0.1]) * units.GPa], rtol=1e-6)


def test_the_energy_that_is_asked_for_is_taken_and_counted(tmp_path):
    frames = lj_frames(3)
    for atoms in frames[:2]:
        atoms.calc.results["free_energy"] = atoms.calc.results["energy"] - 0.25
    write(tmp_path / "a.extxyz", frames)
    energy = np.array([atoms.calc.results["energy"] for atoms in frames])
    for asked, counts, expected in (
        ((), {"free_energy": 2, "energy": 1}, energy - [0.25, 0.25, 0]),
        (("energy",), {"energy": 3}, energy),
        (("free_energy",), {"free_energy": 2, "missing": 1}, energy - [0.25, 0.25, np.nan]),
        (("free_energy", "energy"), {"free_energy": 2, "energy": 1}, energy - [0.25, 0.25, 0]),
        (("none",), {"missing": 3}, np.full(3, np.nan)),
    ):
        result = convert([tmp_path / "a.extxyz"], ConvertSettings(Reading(energy_key=asked)))
        assert result.energies == counts
        np.testing.assert_allclose(result.dataset.energy, expected, atol=1e-9)


def test_frames_without_labels_are_kept_as_missing(tmp_path):
    bare = Atoms("Ru2", [[0, 0, 0], [0, 0, 2.2]])
    write(tmp_path / "a.extxyz", [*lj_frames(2), bare])
    result = convert([tmp_path / "a.extxyz"])
    assert result.energies == {"energy": 2, "missing": 1}
    assert [result.dataset.has(name).tolist() for name in ("energy", "forces", "stress")] == [[True, True, False]] * 3


def test_frames_without_any_label_are_counted_and_refused_where_there_is_nothing_else(tmp_path):
    bare = Atoms("Ru2", [[0, 0, 0], [0, 0, 2.2]])
    with_stress_only = lj_frames(1)[0]
    with_stress_only.calc = labelled(with_stress_only, stress=with_stress_only.get_stress()).calc
    write(tmp_path / "some.traj", [bare, with_stress_only, bare])
    assert convert([tmp_path / "some.traj"]).unlabelled == 2
    write(tmp_path / "none.traj", [bare, bare])
    with pytest.raises(
        DataError, match=r"none of the 2 frames has an energy, forces or a stress.*nothing to learn from"
    ):
        convert([tmp_path / "none.traj"])


def test_a_stress_without_a_volume_is_left_out_and_counted(tmp_path):
    frames = lj_frames(3)
    frames[1].pbc = [True, True, False]
    frames[1].calc = labelled(frames[1], **frames[1].calc.results).calc
    write(tmp_path / "a.extxyz", frames)
    result = convert([tmp_path / "a.extxyz"])
    assert result.account.no_volume == 1
    assert result.dataset.has("stress").tolist() == [True, False, True]
    assert result.dataset.has("forces").all()


def test_frames_are_groups_of_their_own_or_of_their_file(tmp_path):
    frames = lj_frames(4)
    for atoms in frames:
        del atoms.info["group_id"]
    (tmp_path / "other").mkdir()
    write(tmp_path / "a.extxyz", frames[:2])
    write(tmp_path / "other" / "a.extxyz", frames[2:])
    paths = [tmp_path / "a.extxyz", tmp_path / "other" / "a.extxyz"]
    assert len(set(convert(paths).dataset.group_id)) == 4
    groups = convert(paths, ConvertSettings(group_by="file")).dataset.group_id
    assert groups[0] == groups[1] != groups[2] == groups[3]


def test_the_level_of_theory_is_what_all_frames_state(tmp_path):
    frames = lj_frames(3)
    for atoms in frames:
        atoms.info["level_of_theory"] = "LJ, 6 Å"
    write(tmp_path / "a.extxyz", frames)
    assert convert([tmp_path / "a.extxyz"]).dataset.level_of_theory == "LJ, 6 Å"
    frames[1].info["level_of_theory"] = "LJ, 5 Å"
    write(tmp_path / "a.extxyz", frames)
    with pytest.raises(
        DataError, match=r"LJ, 6 Å \(2 frames\), LJ, 5 Å \(1 frames\); convert each to a file of its own"
    ):
        convert([tmp_path / "a.extxyz"])
    assert convert([tmp_path / "a.extxyz"], ConvertSettings(level_of_theory="LJ")).dataset.level_of_theory == "LJ"
    for atoms in frames[1:]:
        del atoms.info["level_of_theory"]
    write(tmp_path / "a.extxyz", frames)
    assert convert([tmp_path / "a.extxyz"]).dataset.level_of_theory == "not stated"


def test_weight_level_and_reference_are_kept(tmp_path):
    frames = lj_frames(2)
    frames[1].info["weight"] = 2.5
    write(tmp_path / "a.extxyz", frames)
    dataset = convert([tmp_path / "a.extxyz"], ConvertSettings(level_of_theory="LJ", energy_reference="atoms")).dataset
    assert dataset.weight.tolist() == [1.0, 2.5]
    assert (dataset.level_of_theory, dataset.energy_reference) == ("LJ", "atoms")


def test_forces_are_those_of_the_file_also_with_constraints(tmp_path):
    """ASE would zero the forces on fixed atoms; labels are whole."""
    (atoms,) = lj_frames(1)
    forces = atoms.calc.results["forces"].copy()
    atoms.set_constraint(FixAtoms([0]))
    write(tmp_path / "a.traj", atoms)
    np.testing.assert_array_equal(convert([tmp_path / "a.traj"]).dataset.forces, forces)
    assert np.abs(forces[0]).max() > 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda atoms: setitem(atoms.calc.results["forces"], (1, 2), np.nan), "non-finite values in its forces"),
        (lambda atoms: setitem(atoms.calc.results, "energy", np.inf), "non-finite values in its energy"),
        (lambda atoms: setitem(atoms.calc.results["stress"], 0, np.nan), "non-finite values in its stress"),
        (lambda atoms: setitem(atoms.positions, (1, 0), np.nan), "position of atom 1"),
        (lambda atoms: setitem(atoms.numbers, 1, 42), "atom 1 is Mo"),
        (lambda atoms: setitem(atoms.info, "weight", -1), "its weight is -1"),
        (
            lambda atoms: setitem(atoms.calc.results, "forces", np.zeros((1, 3))),
            r"the shape of its forces is \(1, 3\); it must be \(2, 3\)",
        ),
        (lambda atoms: delitem(atoms, [0, 1]), "it has no atoms"),
    ],
)
def test_a_bad_frame_is_refused(spoil, message):
    (atoms,) = lj_frames(1)
    clean_frame(atoms, where="a.traj, frame 4: ")
    spoil(atoms)
    with pytest.raises(DataError, match="a.traj, frame 4: " + message):
        clean_frame(atoms, where="a.traj, frame 4: ")


def test_a_bad_frame_is_named_by_file_and_place(tmp_path):
    frames = lj_frames(3)
    frames[2].calc.results["forces"][1, 2] = np.nan
    write(tmp_path / "good.traj", lj_frames(2))
    write(tmp_path / "bad.traj", frames)
    with pytest.raises(DataError, match=r"bad\.traj, frame 2: .* its forces"):
        convert([tmp_path / "good.traj", tmp_path / "bad.traj"])


def test_unreadable_files_are_refused_by_name(tmp_path):
    write(tmp_path / "whole.extxyz", lj_frames(3))
    whole = (tmp_path / "whole.extxyz").read_bytes()
    (tmp_path / "empty.extxyz").write_bytes(b"")
    (tmp_path / "cut.extxyz").write_bytes(whole[: len(whole) - 120])
    (tmp_path / "cut.extxyz.gz").write_bytes(gzip.compress(whole)[:-40])
    (tmp_path / "noise.bin").write_bytes(bytes(range(256)))
    (tmp_path / "notes.txt").write_text("not atoms")
    for name in ("empty.extxyz", "cut.extxyz", "cut.extxyz.gz", "noise.bin", "notes.txt", "missing.extxyz"):
        with pytest.raises(DataError, match=name.replace(".", r"\.")) as caught:
            read_frames(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_blank_line_does_not_hide_the_frames_behind_it(tmp_path):
    """ASE reads 1 of these 3 frames, and says nothing."""
    write(tmp_path / "a.extxyz", lj_frames(3))
    lines = (tmp_path / "a.extxyz").read_text().splitlines()
    first = int(lines[0]) + 2
    (tmp_path / "a.extxyz").write_text("\n".join([*lines[:first], "", *lines[first:], ""]))
    with pytest.raises(DataError, match=f"line {first + 1} is blank"):
        read_frames(tmp_path / "a.extxyz")
    (tmp_path / "end.extxyz").write_text("\n".join([*lines, "", "", ""]))
    assert len(read_frames(tmp_path / "end.extxyz")) == 3


def test_config_types_are_left_out_by_name_and_counted(tmp_path):
    write(tmp_path / "a.extxyz", lj_frames(5, config_types=("hcp", "fcc")))
    result = convert([tmp_path / "a.extxyz"], ConvertSettings(leave_out=("fcc",)))
    assert result.account.left_out == {"fcc": 2}
    assert set(result.dataset.config_type) == {"hcp"} and len(result.dataset) == 3
    with pytest.raises(DataError, match="no frame has the config type 'bcc', which was to be left out"):
        convert([tmp_path / "a.extxyz"], ConvertSettings(leave_out=("fcc", "bcc")))
