"""H5MD: units that MDAnalysis reads, and earlier files that a restart takes back bit by bit or refuses."""

from __future__ import annotations

from operator import delitem, setitem

import h5py
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from ru_calc.errors import OutputError
from ru_calc.md.h5md import FRAMES_AT_ONCE, H5MDWriter

FRAMES = FRAMES_AT_ONCE + 6
# Of MDAnalysis 2.11, coordinates/H5MD.py.
UNITS_OF_MDANALYSIS = {
    "position": {"Angstrom", "nm", "pm", "fm"},
    "velocity": {"Angstrom ps-1", "Angstrom fs-1", "nm ps-1", "nm ns-1", "pm ps-1", "m s-1"},
    "force": {"kJ mol-1 Angstrom-1", "kJ mol-1 nm-1", "Newton", "N", "J m-1", "kcal mol-1 Angstrom-1"},
}


def write(path, resume_at=None, count=FRAMES):
    """Writes frames from `resume_at` to `count`; the same for the same numbers."""
    atoms = bulk("Ru") * (2, 1, 1)
    writer = H5MDWriter(path, atoms, resume_at)
    for k in range(resume_at or 0, count):
        rng = np.random.default_rng(k)
        frame = atoms.copy()
        frame.positions += rng.normal(scale=0.1, size=(4, 3))
        frame.set_velocities(rng.normal(size=(4, 3)))
        frame.info = {"step": 3 * k, "time_fs": 6.0 * k}
        frame.calc = SinglePointCalculator(frame, energy=rng.normal(), forces=rng.normal(size=(4, 3)))
        writer.append(frame)
    writer.close()


def values(path):
    with h5py.File(path) as file:
        found = {}
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
        return found


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_every_unit_is_one_that_mdanalysis_knows(tmp_path):
    write(tmp_path / "md.h5")
    with h5py.File(tmp_path / "md.h5") as file:
        for name, known in UNITS_OF_MDANALYSIS.items():
            assert file[f"particles/all/{name}/value"].attrs["unit"] in known
            assert file[f"particles/all/{name}/time"].attrs["unit"] == "fs"
        assert "value" in file["observables/potential_energy"]


@pytest.mark.parametrize("kept", [0, 5, FRAMES_AT_ONCE, FRAMES_AT_ONCE + 1, FRAMES])
def test_a_finished_file_goes_on_bit_by_bit(tmp_path, kept):
    write(tmp_path / "whole.h5")
    write(tmp_path / "md.h5")
    write(tmp_path / "md.h5", resume_at=kept)
    assert_same(values(tmp_path / "md.h5"), values(tmp_path / "whole.h5"))


def test_a_file_of_an_earlier_version_goes_on_in_the_new_unit(tmp_path):
    write(tmp_path / "whole.h5")
    write(tmp_path / "md.h5")
    with h5py.File(tmp_path / "md.h5", "r+") as file:
        force = file["particles/all/force/value"]
        force[:] /= 96.48533288249877
        force.attrs["unit"] = "eV Angstrom-1"
    write(tmp_path / "md.h5", resume_at=9)
    found, expected = values(tmp_path / "md.h5"), values(tmp_path / "whole.h5")
    force = "particles/all/force/value"
    np.testing.assert_allclose(found.pop(force), expected.pop(force), rtol=1e-15)
    assert_same(found, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: delitem(file, "particles/all/force"), "particles/all/force/value is missing"),
        (lambda file: setitem(file["particles/all/force/value"].attrs, "unit", "N"), "has the unit 'N'; it must be"),
        (lambda file: file["particles/all/position/value"].resize(3, axis=0), "position/value has 3 frames"),
        (lambda file: (delitem(file, "particles/all/position/value"),
                       setitem(file, "particles/all/position/value", np.zeros((FRAMES, 3)))), "has the unit ''"),
        (lambda file: (delitem(file, "observables/potential_energy/value"),
                       setitem(file, "observables/potential_energy/value", h5py.ExternalLink("x.h5", "/x"))),
         "observables/potential_energy/value is a link to x.h5:/x"),
    ],
)  # fmt: skip
def test_a_changed_file_is_refused_and_kept(tmp_path, change, message):
    write(tmp_path / "md.h5")
    with h5py.File(tmp_path / "md.h5", "r+") as file:
        change(file)
    before = (tmp_path / "md.h5").read_bytes()
    with pytest.raises(OutputError, match=rf"md\.h5 no longer holds its 9 frames: .*{message}"):
        write(tmp_path / "md.h5", resume_at=9)
    assert (tmp_path / "md.h5").read_bytes() == before and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "name", ["position/value", "position/step", "velocity/value", "force/value", "box/edges/value"]
)
def test_a_flipped_bit_is_detected(tmp_path, name):
    write(tmp_path / "md.h5")
    with h5py.File(tmp_path / "md.h5") as file:
        chunk = file[f"particles/all/{name}"].id.get_chunk_info(0)
    content = bytearray((tmp_path / "md.h5").read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    (tmp_path / "md.h5").write_bytes(content)
    with pytest.raises(OutputError, match="no longer holds its 9 frames"):
        write(tmp_path / "md.h5", resume_at=9)


def test_zeros_that_became_ones_are_detected(tmp_path):
    """Fletcher-32 alone does not tell 00 00 from FF FF."""
    write(tmp_path / "md.h5")
    with h5py.File(tmp_path / "md.h5") as file:
        chunks = []
        file["particles/all/box/edges/value"].id.chunk_iter(chunks.append)
    whole, refused = (tmp_path / "md.h5").read_bytes(), 0
    for place in range(chunks[0].byte_offset, chunks[0].byte_offset + chunks[0].size - 1):
        if whole[place : place + 2] == bytes(2):
            (tmp_path / "md.h5").write_bytes(whole[:place] + b"\xff\xff" + whole[place + 2 :])
            with pytest.raises(OutputError, match="no longer holds its 9 frames"):
                write(tmp_path / "md.h5", resume_at=9)
            refused += 1
    assert refused
