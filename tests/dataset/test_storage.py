"""HDF5 files on a disk that is full."""

from __future__ import annotations

import resource

import h5py
import numpy as np
import pytest
from forked import ended, forked

from ru_calc.dataset.storage import whole_hdf5
from ru_calc.errors import OutputError

SIZES = (0, 1, 500, 3000, 10_000, 30_000)


def fill(path) -> None:
    with whole_hdf5(path, libver=("v110", "v110")) as file:
        for k in range(20):
            values = np.random.default_rng(k).normal(size=(10, 6, 3))
            stored = file.create_dataset(f"g{k}/x", data=values, chunks=True, compression="gzip", fletcher32=True)
            stored.attrs["units"] = "eV"


@pytest.mark.parametrize("most_bytes", SIZES)
def test_a_file_that_finds_no_room_ends_in_an_error_and_not_in_a_crash(tmp_path, most_bytes):
    path = tmp_path / "x.h5"

    def without_room() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        with pytest.raises(OutputError, match=r"x.h5 could not be written: File too large; make room"):
            fill(path)
        return 7

    assert ended(forked(without_room)) == 7
    assert not list(tmp_path.iterdir())


def test_with_room_it_is_what_h5py_writes(tmp_path):
    fill(tmp_path / "x.h5")
    assert (tmp_path / "x.h5").stat().st_size > max(SIZES)
    with h5py.File(tmp_path / "x.h5") as file:
        assert len(file) == 20 and file["g3/x"].attrs["units"] == "eV"
        np.testing.assert_array_equal(file["g3/x"], np.random.default_rng(3).normal(size=(10, 6, 3)))
