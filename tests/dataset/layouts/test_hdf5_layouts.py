"""HDF5 files of other programs, written here as their programs write them, against the frames that they hold."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from labelled import lj_frames

from ru_calc.calculator import RuCalculator
from ru_calc.dataset import Dataset, read_dataset, write_dataset
from ru_calc.dataset.convert import ConvertSettings, convert
from ru_calc.dataset.layouts import read_frames
from ru_calc.dataset.opening import open_dataset
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError
from ru_calc.md import MDOutput, MDSettings, run_md

FRAMES = lj_frames(5)
SAME = Dataset.from_atoms(FRAMES)
RU = Reading(elements=("Ru",))


def assert_same(path: Path, reading: Reading | None = None, frames: list[int] | None = None, **atol: float) -> None:
    """The file holds these frames of `FRAMES`, with all labels."""
    found, expected = convert([path], ConvertSettings(reading or Reading())).dataset, SAME.select(frames or range(5))
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-9, err_msg=name)
    for name in ("positions", "cells", "pbc", "counts"):
        np.testing.assert_allclose(getattr(found.structures, name), getattr(expected.structures, name), atol=1e-9)


def of_size(n: int) -> list[int]:
    return [k for k, atoms in enumerate(FRAMES) if len(atoms) == n]


def stacked(frames: list[int], name: str) -> np.ndarray:
    """A property of frames of one size."""
    return np.array([FRAMES[k].calc.results[name] if name in FRAMES[k].calc.results else getattr(FRAMES[k], name)
                     for k in frames])  # fmt: skip


SIZES = {n: of_size(n) for n in sorted({len(atoms) for atoms in FRAMES})}
ORDER = [k for frames in SIZES.values() for k in frames]


def write_torchmd(path: Path, types: int = 44) -> None:
    with h5py.File(path, "w") as file:
        for n, frames in SIZES.items():
            group = file.create_group(f"atoms_{n:03d}")
            group["types"] = np.full((len(frames), n), types)
            group["pos"], group["energy"] = stacked(frames, "positions"), stacked(frames, "energy")
            group["forces"] = stacked(frames, "forces")
            group["cell"] = np.array([FRAMES[k].cell.array for k in frames])
            group["virial"] = np.array([-FRAMES[k].get_volume() * FRAMES[k].get_stress(voigt=False) for k in frames])


def test_torchmd_groups_are_read(tmp_path):
    write_torchmd(tmp_path / "a.h5")
    assert_same(tmp_path / "a.h5", frames=ORDER)


def test_types_that_are_no_elements_need_them(tmp_path):
    write_torchmd(tmp_path / "a.h5", types=0)
    with pytest.raises(DataError, match=r"a\.h5, /atoms_001: it numbers the types of its atoms 0 .*--elements Ru"):
        convert([tmp_path / "a.h5"])
    assert_same(tmp_path / "a.h5", RU, ORDER)


def test_an_impossible_atomic_number_is_refused_by_name(tmp_path):
    for number in (45, 250, -3):
        write_torchmd(tmp_path / "a.h5", types=number)
        with pytest.raises(DataError, match=r"a\.h5.*(atom 0 is (Rh|of atomic number)|its types of atoms|--elements)"):
            convert([tmp_path / "a.h5"])


def test_units_of_arrays_are_honoured_and_rows_are_counted(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("g")
        group["atomic_numbers"] = [44, 44]
        group["pos"] = np.array([[[0, 0, 0], [0, 0, 4.5]]] * 3)
        group["pos"].attrs["units"] = "bohr"
        group["energy"], group["forces"] = [[-1.0], [-2.0], [-3.0]], np.ones((3, 2, 3))
        group["energy"].attrs["units"], group["forces"].attrs["units"] = "hartree", "hartree/bohr"
    dataset = convert([tmp_path / "a.h5"]).dataset
    np.testing.assert_allclose(dataset.energy, np.array([-1, -2, -3]) * 27.211386, rtol=1e-6)
    np.testing.assert_allclose(dataset.forces, 51.422067, rtol=1e-6)
    np.testing.assert_allclose(dataset.structures.positions[1], [0, 0, 4.5 * 0.529177], rtol=1e-5)
    assert not dataset.structures.pbc.any()
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["g/energy"]
        file["g/energy"] = [-1.0, -2.0]
    with pytest.raises(DataError, match="energy has 2 rows, but there are 3 frames"):
        convert([tmp_path / "a.h5"])


def test_npz_of_sgdml_is_read(tmp_path):
    frames = SIZES[2]
    energies = stacked(frames, "energy")[:, None] / 0.0433641
    values = {"R": stacked(frames, "positions"), "z": np.full(2, 44), "E": energies, "name": "Ru2", "theory": "LJ",
              "F": stacked(frames, "forces") / 0.0433641, "r_unit": "Ang", "e_unit": "kcal/mol"}  # fmt: skip
    np.savez(tmp_path / "a.npz", **values)
    with pytest.raises(DataError, match="one unit is kcal/mol, but that of its forces"):
        convert([tmp_path / "a.npz"])
    dataset = convert([tmp_path / "a.npz"], ConvertSettings(Reading(forces_unit="kcal/mol/Angstrom"))).dataset
    np.testing.assert_allclose(dataset.energy, SAME.energy[frames], rtol=1e-5)
    np.testing.assert_allclose(dataset.forces, SAME.select(frames).forces, rtol=1e-5, atol=1e-6)


def write_mace(path: Path, frames: list[int], properties: bool) -> None:
    """As `mace.tools` writes shards, two configurations in a batch."""
    with h5py.File(path, "w") as file:
        file.attrs["drop_last"] = False
        for place, k in enumerate(frames):
            atoms = FRAMES[k]
            group = file.require_group(f"config_batch_{place // 2}").create_group(f"config_{place % 2}")
            labels = {**atoms.calc.results, "virials": "None", "dipole": np.zeros(3), "charges": np.zeros(len(atoms))}
            weights = {name: 1.0 for name in ("energy", "forces", "stress")} | {"virials": 0.0}
            if place == 1:
                labels["stress"], weights["stress"] = np.zeros(6), 0.0
            inside = group.create_group("properties") if properties else group
            for name, value in labels.items():
                inside[name] = value
            if properties:
                weighted = group.create_group("property_weights")
                for name, value in weights.items():
                    weighted[name] = value
            else:
                for name, value in weights.items():
                    group[f"{name}_weight"] = value
            group["atomic_numbers"], group["positions"] = atoms.numbers, atoms.positions
            group["cell"], group["pbc"] = atoms.cell.array, atoms.pbc
            group["weight"], group["config_type"], group["head"] = 2.0, "bulk", "Default"


@pytest.mark.parametrize("properties", [False, True])
def test_mace_shards_of_a_folder_are_read_in_order(tmp_path, properties):
    (tmp_path / "train").mkdir()
    write_mace(tmp_path / "train" / "train_2.h5", [0, 1, 2], properties)
    write_mace(tmp_path / "train" / "train_10.h5", [3, 4], properties)
    result = convert([tmp_path / "train"])
    found = result.dataset
    assert result.files == 2
    np.testing.assert_array_equal(found.energy, SAME.energy)
    np.testing.assert_array_equal(found.forces, SAME.forces)
    assert found.has("stress").tolist() == [True, False, True, True, False]  # of weight 0 are no labels
    np.testing.assert_allclose(found.stress[[0, 2, 3]], SAME.stress[[0, 2, 3]])
    assert set(found.config_type) == {"bulk"} and set(found.weight) == {2.0}


def write_znh5md(path: Path, frames: list[Atoms]) -> None:
    """As ZnH5MD writes frames of different sizes: padded with NaN, labels with their origin."""
    most = max(map(len, frames))

    def padded(values: list[np.ndarray]) -> np.ndarray:
        rows = np.full((len(values), most, *np.shape(values[0])[1:]), np.nan)
        for row, value in zip(rows, values, strict=True):
            row[: len(value)] = value
        return rows

    with h5py.File(path, "w") as file:

        def put(name: str, values: object, origin: str, unit: str | None = None) -> None:
            group = file.create_group(name)
            group["value"], group["step"], group["time"] = values, 1, 1.0
            group.attrs["ASE_ENTRY_ORIGIN"] = origin
            if unit:
                group["value"].attrs["unit"] = unit

        put("particles/atoms/position", padded([atoms.positions for atoms in frames]), "atoms", "Angstrom")
        put("particles/atoms/species", padded([atoms.numbers for atoms in frames]), "atoms")
        put("particles/atoms/box/edges", [atoms.cell.array for atoms in frames], "atoms", "Angstrom")
        put("particles/atoms/box/pbc", [atoms.pbc.astype(float) for atoms in frames], "atoms")
        file["particles/atoms/box"].attrs["boundary"] = ["periodic"] * 3
        results = [atoms.calc.results for atoms in frames]
        put("particles/atoms/force", padded([one["forces"] for one in results]), "calc", "eV/Angstrom")
        put("observables/atoms/potential_energy", [one["energy"] for one in results], "calc", "eV")
        stress = np.array([one["stress"] for one in results])
        stress[1] = np.nan
        put("observables/atoms/stress", stress, "calc", "eV/Angstrom^3")
        put("observables/atoms/config_type", [json.dumps("hcp"), *[""] * (len(frames) - 1)], "info")


def test_znh5md_pads_sizes_and_says_what_is_missing(tmp_path):
    write_znh5md(tmp_path / "a.h5", FRAMES)
    found = convert([tmp_path / "a.h5"]).dataset
    assert found.structures.counts.tolist() == SAME.structures.counts.tolist()
    np.testing.assert_allclose(found.energy, SAME.energy)
    np.testing.assert_allclose(found.forces, SAME.forces)
    assert found.has("stress").tolist() == [True, False, True, True, True]
    np.testing.assert_allclose(found.stress[2:], SAME.stress[2:])
    assert found.config_type.tolist() == ["hcp", *["unnamed"] * 4]


def test_h5md_of_md_is_read_back(tmp_path):
    atoms = FRAMES[0].copy() * (2, 2, 2)
    calculator = RuCalculator("default")
    settings = MDSettings("nve", temperature_K=300, steps=4)
    run_md(atoms, calculator, settings, MDOutput(tmp_path / "run", trajectory="md.h5", trajectory_every=2))
    frames = read_frames(tmp_path / "run" / "md.h5")
    last = read_frames(str(tmp_path / "run" / "md.h5") + "@-1")
    assert len(frames) == 3 and len(last) == 1
    np.testing.assert_array_equal(last[0].positions, frames[2].positions)
    np.testing.assert_allclose(last[0].positions, atoms.positions)
    found = convert([tmp_path / "run" / "md.h5"]).dataset
    np.testing.assert_allclose(found.forces[-len(atoms) :], atoms.get_forces(), atol=1e-6)
    assert found.energy[2] == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    assert found.structures.pbc.all()


def test_h5md_with_labels_at_other_steps_matches_them_by_step(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["particles/all/position/value"] = np.arange(24.0).reshape(4, 2, 3)
        file["particles/all/position/step"] = [0, 10, 20, 30]
        file["particles/all/species"] = [44, 44]
        file["observables/potential_energy/value"], file["observables/potential_energy/step"] = [-1.0, -3.0], [0, 20]
    np.testing.assert_array_equal(convert([tmp_path / "a.h5"]).dataset.energy, [-1, np.nan, -3, np.nan])
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        del file["observables/potential_energy/step"]
    with pytest.raises(DataError, match="energy has 2 rows, but there are 4 frames"):
        convert([tmp_path / "a.h5"])


def test_native_files_are_opened_as_ever_and_mix_with_others(tmp_path):
    write_dataset(Dataset.from_atoms(FRAMES, "LJ"), tmp_path / "a.h5")
    write_torchmd(tmp_path / "b.h5")
    lines: list[str] = []
    assert open_dataset(tmp_path / "a.h5", say=lines.append).fingerprint() == SAME.fingerprint()
    assert lines == []
    with pytest.raises(DataError, match="is a ru-calc data file, whose columns and units are known"):
        open_dataset(tmp_path / "a.h5", Reading(energy_unit="Ha"))
    open_dataset(tmp_path / "b.h5", say=lines.append)
    assert lines[0].endswith("b.h5: read 5 frames from 1 file") and "stress taken from: virial (5 frames)" in lines
    both = convert([tmp_path / "a.h5", tmp_path / "b.h5"], ConvertSettings(level_of_theory="LJ")).dataset
    np.testing.assert_allclose(both.energy, [*SAME.energy, *SAME.energy[ORDER]])
    write_dataset(both, tmp_path / "c.h5")
    assert read_dataset(tmp_path / "c.h5").fingerprint() == both.fingerprint()


@pytest.mark.parametrize("spoil", ["external", "soft", "virtual", "huge"])
def test_arrays_that_lie_elsewhere_or_claim_too_much_are_refused(tmp_path, spoil):
    write_torchmd(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        group = file["atoms_002"]
        shape = group["energy"].shape
        del group["energy"]
        if spoil == "external":
            group["energy"] = h5py.ExternalLink("/etc/passwd", "/energy")
        elif spoil == "soft":
            group["energy"] = h5py.SoftLink("/nowhere")
        elif spoil == "virtual":
            layout = h5py.VirtualLayout(shape, float)
            layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "e", shape)
            group.create_virtual_dataset("energy", layout)
        else:
            group.create_dataset("energy", (10**12,), float, chunks=(1024,))
    with pytest.raises(DataError, match=r"a\.h5.*energy"):
        convert([tmp_path / "a.h5"])


def test_groups_at_any_depth_are_read(tmp_path):
    write_torchmd(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        names = list(file)
        file.move(names[-1], f"runs/hot/1/{names[-1]}")
    found = convert([tmp_path / "a.h5"]).dataset
    np.testing.assert_allclose(np.sort(found.energy), np.sort(SAME.energy))


def test_arrays_of_a_lone_structure_under_names_of_their_own_are_named(tmp_path):
    atoms = FRAMES[0]
    np.savez(
        tmp_path / "a.npz", R=atoms.positions, z=atoms.numbers, cell=atoms.cell.array, energy=[-18.5],
        F_own=np.zeros((len(atoms), 3)),
    )  # fmt: skip
    assert any("F_own" in line for line in convert([tmp_path / "a.npz"]).account.lines())


@pytest.mark.parametrize("chunks", [None, (1, 3, 3)])
def test_values_that_were_never_written_are_not_read_as_zeros(tmp_path, chunks):
    """The run that wrote the file was killed between two arrays, or between two frames."""
    write_torchmd(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        group = file["atoms_004"]
        whole = group["virial"][()]
        del group["virial"]
        group.create_dataset("virial", whole.shape, float, chunks=chunks)
        if chunks:
            group["virial"][:-1] = whole[:-1]
    with pytest.raises(DataError, match=r"a\.h5.*/virial holds \d+ of \d+ (bytes|chunks); the rest is not there"):
        convert([tmp_path / "a.h5"])


def test_values_that_were_never_written_are_missing_where_the_file_fills_with_nan(tmp_path):
    write_torchmd(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        for group in file.values():
            whole = group["virial"][()]
            del group["virial"]
            group.create_dataset("virial", whole.shape, float, chunks=(1, 3, 3), fillvalue=np.nan)
            group["virial"][:1] = whole[:1]
    found = convert([tmp_path / "a.h5"]).dataset
    first = np.concatenate([np.arange(len(frames)) == 0 for frames in SIZES.values()])
    np.testing.assert_array_equal(found.has("stress"), first)
    np.testing.assert_allclose(found.stress[first], SAME.select(ORDER).stress[first], atol=1e-9)


def test_a_heap_of_texts_that_libhdf5_would_read_for_ever_is_refused(tmp_path):
    write_mace(tmp_path / "a.h5", [0, 1], False)
    data = bytearray((tmp_path / "a.h5").read_bytes())
    place = start = data.index(b"GCOL") + 16
    while data[place : place + 2] != bytes(2):  # to the free space at the end
        place += 16 + (int.from_bytes(data[place + 8 : place + 16], "little") + 7) // 8 * 8
    assert place > start
    data[place + 8 : place + 16] = bytes(8)
    (tmp_path / "a.h5").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.h5 is damaged: its heap of text at byte"):
        convert([tmp_path / "a.h5"])


def test_a_file_in_no_layout_names_what_can_be_done(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = [1.0]
    with pytest.raises(DataError, match="is an HDF5 file from another program, not a ru-calc data file"):
        convert([tmp_path / "a.h5"])
    with pytest.raises(DataError, match="--format is 'h5nd'; it must be one of ru-calc, h5md, deepmd"):
        convert([tmp_path / "a.h5"], ConvertSettings(Reading(format="h5nd")))
