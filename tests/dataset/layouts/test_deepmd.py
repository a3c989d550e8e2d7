"""DeePMD-kit's systems against numbers by hand, and round trips of frames."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from ase.io import write
from labelled import lj_frames

from ru_calc.dataset import Dataset
from ru_calc.dataset.convert import ConvertSettings, convert
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError

# V = 2 · 3 · 4 = 24 Å³; a virial of +0.24 eV is a pressure, so a stress of −0.01 eV/Å³.
BOX = np.diag([2.0, 3.0, 4.0])
COORD = np.array([[[0, 0, 0], [1, 1.5, 2.0]], [[0, 0, 0.1], [1, 1.5, 2.0]]])
FORCE = np.array([[[0, 0, 1.5], [0, 0, -1.5]], [[0, 1, 0], [0, -1, 0]]])
VIRIAL = np.array([np.diag([0.24, 0.48, 0.72]), [[0, 0.12, 0], [0.12, 0, 0], [0, 0, 0]]])
STRESS = [[-0.01, -0.02, -0.03, 0, 0, 0], [0, 0, 0, 0, 0, -0.005]]
COLUMNS = {
    "coord": COORD.reshape(2, 6), "box": np.array([BOX] * 2).reshape(2, 9), "energy": np.array([-18.0, -17.0]),
    "force": FORCE.reshape(2, 6), "virial": VIRIAL.reshape(2, 9),
}  # fmt: skip
ENERGIES = [atoms.calc.results["energy"] for atoms in lj_frames(3)]
RU = ConvertSettings(Reading(elements=("Ru",)))


def write_system(folder: Path, columns: dict = COLUMNS, names: str | None = "Ru\n", sets: int = 1) -> Path:
    folder.mkdir(parents=True)
    (folder / "type.raw").write_text("0\n0\n")
    if names:
        (folder / "type_map.raw").write_text(names)
    for k in range(sets):
        (folder / f"set.{k:03d}").mkdir()
        for name, values in columns.items():
            np.save(folder / f"set.{k:03d}" / f"{name}.npy", values)
    return folder


def assert_by_hand(dataset: Dataset) -> None:
    np.testing.assert_allclose(dataset.structures.positions, COORD.reshape(-1, 3))
    np.testing.assert_allclose(dataset.structures.cells, [BOX, BOX])
    assert dataset.energy.tolist() == [-18, -17]
    np.testing.assert_allclose(dataset.forces, FORCE.reshape(-1, 3))
    np.testing.assert_allclose(dataset.stress, STRESS, atol=1e-12)


def test_a_system_of_npy_files_gives_minus_virial_over_volume(tmp_path):
    assert_by_hand(convert([write_system(tmp_path / "sys")]).dataset)


def test_systems_and_sets_are_read_in_order_of_their_paths(tmp_path):
    write_system(tmp_path / "all" / "a", sets=2)
    write_system(tmp_path / "all" / "b", {**COLUMNS, "energy": [-1.0, -2.0]})
    assert convert([tmp_path / "all"]).dataset.energy.tolist() == [-18, -17, -18, -17, -1, -2]


@pytest.mark.parametrize("form", [None, "deepmd"])
def test_other_files_beside_and_in_systems_are_read_or_named(tmp_path, form):
    folder = tmp_path / "all"
    write_system(folder / "a")
    write_system(folder / "deep" / "b", {**COLUMNS, "energy": [-1.0, -2.0]})
    for name in ("more.extxyz", "a/inside.extxyz"):
        write(folder / name, lj_frames(3))
    (folder / "a" / "notes.md").write_text("by hand\n")
    found = convert([folder], ConvertSettings(Reading(format=form)))
    energies = [-18, -17, -1, -2] if form else [-18, -17, *ENERGIES, -1, -2, *ENERGIES]
    assert found.dataset.energy.tolist() == pytest.approx(energies)
    others = ["notes.md", *(["inside.extxyz", "more.extxyz"] if form else [])]
    lines = [line for line in found.account.lines() if line.startswith("not read: ")]
    assert len(lines) and all(name in "".join(lines) for name in others), found.account


def test_a_system_alone_may_have_an_index_and_names_what_is_not_its_own(tmp_path):
    system = write_system(tmp_path / "sys")
    (system / "notes.md").write_text("by hand\n")
    assert convert([f"{system}@1"]).dataset.energy.tolist() == [-17]
    assert any("notes.md" in line for line in convert([system]).account.lines())


def test_types_without_names_need_elements(tmp_path):
    folder = write_system(tmp_path / "sys", names=None)
    with pytest.raises(DataError, match="--elements Ru"):
        convert([folder])
    assert_by_hand(convert([folder], RU).dataset)


def test_a_system_without_cell_has_no_stress(tmp_path):
    columns = {name: values for name, values in COLUMNS.items() if name != "box"}
    folder = write_system(tmp_path / "sys", columns)
    with pytest.raises(DataError, match="there is no box"):
        convert([folder])
    (folder / "nopbc").touch()
    result = convert([folder])
    assert not result.dataset.structures.pbc.any() and not result.dataset.has("stress").any()
    assert result.account.no_volume == 2


def test_mixed_types_drop_the_atoms_that_fill_up(tmp_path):
    columns = {**COLUMNS, "real_atom_types": np.array([[0, -1], [0, 0]])}
    dataset = convert([write_system(tmp_path / "sys", columns)]).dataset
    assert dataset.structures.counts.tolist() == [1, 2]
    np.testing.assert_allclose(dataset.forces, [FORCE[0, 0], *FORCE[1]])


def test_plain_text_of_a_raw_system_is_read(tmp_path):
    folder = write_system(tmp_path / "sys", sets=0)
    for name, values in COLUMNS.items():
        np.savetxt(folder / f"{name}.raw", np.asarray(values).reshape(2, -1))
    assert_by_hand(convert([folder]).dataset)


@pytest.mark.parametrize(
    "spelling",
    [{name: name for name in COLUMNS},
     {"coord": "coords", "box": "cells", "energy": "energies", "force": "forces", "virial": "virials"}],
)  # fmt: skip
def test_systems_of_an_hdf5_file_are_read_under_both_spellings(tmp_path, spelling):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["sys/type.raw"], file["sys/type_map.raw"] = [0, 0], np.array(["Ru"], dtype="S")
        for name, values in COLUMNS.items():
            file[f"sys/set.000/{spelling[name]}.npy"] = values
    assert_by_hand(convert([tmp_path / "a.hdf5"]).dataset)


def test_arrays_that_do_not_go_together_are_refused(tmp_path):
    for name, values, message in (
        ("force", np.zeros((2, 9)), r"sys, frame 0: the shape of its forces \(force\) is \(3, 3\); it must be"),
        ("box", np.zeros((2, 6)), "sys: the arrays of a set do not go together: 2 types"),
        ("energy", np.zeros(3), "sys: the arrays of a set do not go together: 2 types"),
    ):
        folder = write_system(tmp_path / name / "sys", {**COLUMNS, name: values})
        with pytest.raises(DataError, match=message):
            convert([folder])


def test_frames_come_back(tmp_path):
    frames = [atoms for atoms in lj_frames(9) if len(atoms) == 2]
    columns = {
        "coord": [atoms.positions.ravel() for atoms in frames], "box": [atoms.cell.array.ravel() for atoms in frames],
        "energy": [atoms.get_potential_energy() for atoms in frames],
        "force": [atoms.get_forces().ravel() for atoms in frames],
        "virial": [-(atoms.get_volume() * atoms.get_stress(voigt=False)).ravel() for atoms in frames],
    }  # fmt: skip
    found = convert([write_system(tmp_path / "sys", columns)]).dataset
    expected = Dataset.from_atoms(frames)
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-12)
