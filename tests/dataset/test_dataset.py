"""The native HDF5 file: exact, labelled with units, checksummed; masks."""

from __future__ import annotations

from dataclasses import replace
from operator import delitem, setitem

import h5py
import numpy as np
import pytest
from ase import Atoms
from labelled import assert_same_data, labelled, lj_frames

from ru_calc.dataset import SCHEMA, UNITS, Dataset, read_dataset, write_dataset
from ru_calc.dataset.labels import labels_of
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError, OutputError


@pytest.fixture
def dataset() -> Dataset:
    """Frames of different sizes in no order of size; one without any label, one in vacuum."""
    frames = [*lj_frames(7), Atoms("Ru2", [[0, 0, 0], [0, 0, 2.2]], info={"config_type": "dimère"})]
    return Dataset.from_atoms(frames, level_of_theory="Lennard-Jones", energy_reference="lone atoms")


def test_a_round_trip_is_exact_and_keeps_the_order(dataset, tmp_path):
    write_dataset(dataset, tmp_path / "a.h5")
    assert_same_data(read_dataset(tmp_path / "a.h5"), dataset)
    assert read_dataset(tmp_path / "a.h5").fingerprint() == dataset.fingerprint()
    assert list(tmp_path.iterdir()) == [tmp_path / "a.h5"]


def test_a_changed_bit_breaks_the_round_trip_check(dataset):
    """Sabotage: the check above sees the last bit of one force, and two frames swapped."""
    forces = dataset.forces.copy()
    forces[2, 1] = np.nextafter(forces[2, 1], np.inf)
    with pytest.raises(AssertionError, match="forces"):
        assert_same_data(replace(dataset, forces=forces), dataset)
    with pytest.raises(AssertionError):
        assert_same_data(dataset.select([1, 0, *range(2, len(dataset))]), dataset)
    assert replace(dataset, forces=forces).fingerprint() != dataset.fingerprint()


def test_frames_come_back_as_atoms_with_labels(dataset):
    frames = lj_frames(7)
    for k in (0, 4, 6):
        atoms = dataset.atoms(k)
        np.testing.assert_array_equal(atoms.positions, frames[k].positions)
        assert atoms.get_potential_energy() == frames[k].calc.results["energy"]
        np.testing.assert_array_equal(atoms.get_forces(), frames[k].calc.results["forces"])
        np.testing.assert_array_equal(atoms.get_stress(), frames[k].calc.results["stress"])
        assert atoms.info == frames[k].info
    assert dataset.atoms(7).calc.results == {}


def test_select_takes_frames_with_their_own_atoms(dataset):
    part = dataset.select([5, 2])
    assert_same_data(part, Dataset.from_atoms([lj_frames(7)[k] for k in (5, 2)], "Lennard-Jones",
                                         energy_reference="lone atoms"))  # fmt: skip


def test_every_dataset_in_the_file_has_units_a_checksum_and_compression(dataset, tmp_path):
    write_dataset(dataset, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["schema"] == SCHEMA and "tension positive" in file.attrs["stress_convention"]
        stored = [item for group in file.values() for item in group.values()]
        assert len(stored) == len(UNITS) * len(set(dataset.structures.counts))
        for item in stored:
            assert item.attrs["units"] == UNITS[item.name.split("/")[-1]]
            assert item.fletcher32 and item.compression == "gzip" and item.chunks
    assert UNITS["stress"] == "eV/Angstrom^3" and UNITS["forces"] == "eV/Angstrom"


def test_missing_labels_are_masked_and_counted(dataset):
    for name in ("energy", "forces", "stress"):
        assert dataset.has(name).tolist() == [True] * 7 + [False]
    forces = dataset.forces.copy()
    forces[0, 0] = np.nan
    assert replace(dataset, forces=forces).has("forces").tolist() == [False] + [True] * 6 + [False]


def test_a_label_that_no_frame_has_and_no_frames_are_refused():
    dataset = Dataset.from_atoms([Atoms("Ru", cell=[5, 5, 5], pbc=True)] * 3)
    with pytest.raises(DataError, match="none of the 3 frames has energy or stress"):
        dataset.require(["energy", "stress"])
    Dataset.from_atoms(lj_frames(2)).require(["energy", "forces", "stress"])
    with pytest.raises(DataError, match="0 frames"):
        Dataset.from_atoms([])


@pytest.mark.parametrize("label", ["energy", "forces", "stress"])
def test_labels_that_are_not_finite_are_refused(label):
    frames = lj_frames(3)
    results = dict(frames[1].calc.results)
    results[label] = results[label] * np.nan
    labelled(frames[1], **results)
    with pytest.raises(DataError, match=f"frame 1: non-finite values in its {label}"):
        Dataset.from_atoms(frames)


def test_free_energy_comes_before_energy():
    (atoms,) = lj_frames(1)
    labelled(atoms, energy=-1.0, free_energy=-2.0)
    assert Dataset.from_atoms([atoms]).energy[0] == -2
    keys = [Reading(energy_key=key) for key in ((), ("energy",), ("free_energy",))]
    assert [labels_of(atoms, reading).values["energy"] for reading in keys] == [-2, -1, -2]


@pytest.mark.parametrize("name", ["energy", "forces", "positions", "stress", "cell"])
def test_a_flipped_bit_in_the_file_is_detected(dataset, tmp_path, name):
    """Sabotage: the checksum finds one changed bit, wherever it is."""
    path = tmp_path / "a.h5"
    write_dataset(dataset, path)
    with h5py.File(path) as file:
        chunk = file[f"size_00002/{name}"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.h5"):
        read_dataset(path)


def test_a_truncated_file_is_refused(dataset, tmp_path):
    path = tmp_path / "a.h5"
    write_dataset(dataset, path)
    whole = path.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DataError, match=r"a\.h5 is not a complete HDF5 file"):
            read_dataset(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.attrs.pop("schema"), "not a ru-calc data file"),
        (lambda file: file.attrs.modify("version", 99), "version 99"),
        (lambda file: file["size_00002/energy"].attrs.modify("units", "Ha"), "has units 'Ha'; they must be 'eV'"),
        (lambda file: setitem(file["size_00002/numbers"], (0, 0), 42), "other than ruthenium"),
        (lambda file: setitem(file["size_00002/positions"], (0, 0, 0), np.nan), "must be finite"),
        (lambda file: delitem(file, "size_00004"), "should hold 8 frames but has"),
        (lambda file: delitem(file, "size_00002/positions"), "lacks 'positions'"),
        (lambda file: file.attrs.pop("frames"), r"a\.h5"),
        (lambda file: file.attrs.pop("level_of_theory"), r"a\.h5"),
    ],
)
def test_foreign_and_altered_files_are_refused(dataset, tmp_path, change, message):
    write_dataset(dataset, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        change(file)
    with pytest.raises(DataError, match=message):
        read_dataset(tmp_path / "a.h5")
    with pytest.raises(DataError, match="there is no data file"):
        read_dataset(tmp_path / "missing.h5")


def test_optional_parts_may_be_absent(dataset, tmp_path):
    write_dataset(dataset, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        for group in file.values():
            for name in ("stress", "config_type", "group_id", "weight"):
                del group[name]
    found = read_dataset(tmp_path / "a.h5")
    assert not found.has("stress").any() and found.has("energy").sum() == 7
    assert set(found.config_type) == {"unnamed"} and len(set(found.group_id)) == len(dataset)
    assert (found.weight == 1).all()


def test_an_output_that_cannot_be_written_is_refused(dataset, tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        write_dataset(dataset, tmp_path / "missing" / "a.h5")
    with pytest.raises(OutputError, match="is a folder"):
        write_dataset(dataset, tmp_path)
    assert not list(tmp_path.iterdir())
