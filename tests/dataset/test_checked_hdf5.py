"""Data files that are hostile or against the layout end in one error that names file, group, array and rule."""

from __future__ import annotations

import fcntl
import zlib
from collections.abc import Callable
from dataclasses import replace
from operator import delitem, setitem
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from labelled import assert_same_data, lj_frames

from ru_calc.dataset import UNITS, Dataset, read_dataset, write_dataset
from ru_calc.dataset.checked_hdf5 import ALWAYS_ALLOWED_BYTES, TEXT, open_hdf5
from ru_calc.dataset.convert import convert
from ru_calc.errors import DataError

DATA = Dataset.from_atoms(lj_frames(12))
Change = Callable[[h5py.File], object]


def stored(file: h5py.File, name: str, value: object, **how: object) -> h5py.Dataset:
    """An array of the first group replaced by another, with the units of the layout."""
    group = file["size_00001"]
    if name in group:
        del group[name]
    made = group.create_dataset(name, **({"data": value} if value is not None else {}), **how)
    made.attrs["units"] = UNITS.get(name, "")
    return made


def scaled(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    return lambda file: stored(file, name, change(file[f"size_00001/{name}"][:]))


def entry(name: str, index: object, value: object) -> Change:
    return lambda file: setitem(file[f"size_00001/{name}"], index, value)


def linked(name: str, link: object) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = link

    return change


def outside(file: h5py.File) -> None:
    values = Path(file.filename).with_suffix(".raw")
    values.write_bytes(bytes(16))
    stored(file, "energy", None, shape=(2,), dtype="f8", external=[(str(values), 0, 16)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "energy", (2,))
    del file["size_00001/energy"]
    file["size_00001"].create_virtual_dataset("energy", layout).attrs["units"] = "eV"


def bomb(file: h5py.File) -> None:
    """A chunk of 16 bytes that inflates to 50 MB."""
    made = stored(file, "energy", None, shape=(2,), dtype="f8", chunks=(2,), compression="gzip")
    made.id.write_direct_chunk((0,), zlib.compress(bytes(50_000_000)))


def claiming(**how: object) -> Change:
    return lambda file: stored(file, "energy", None, dtype="f8", **how)


CHANGES: dict[str, tuple[Change, str]] = {
    "longer": (scaled("energy", lambda v: np.append(v, 1.0)), r"/size_00001/energy has the shape \(3,\); it must be"),
    "shorter": (scaled("forces", lambda v: v[:1]), r"/size_00001/forces has the shape \(1, 1, 3\)"),
    "transposed": (scaled("positions", lambda v: v.swapaxes(1, 2)), r"/size_00001/positions has the shape \(2, 3, 1\)"),
    "flat": (scaled("stress", np.ravel), r"/size_00001/stress has the shape \(12,\); it must be \(2, 6\)"),
    "scalar": (scaled("weight", lambda v: v[0]), r"/size_00001/weight has the shape \(\)"),
    "null": (lambda f: stored(f, "energy", h5py.Empty("f8")), "/size_00001/energy has no values"),
    "other size": (lambda f: f.move("size_00001", "size_00007"), r"/size_00007/numbers has the shape \(2, 1\)"),
    "complex": (scaled("energy", lambda v: v + 1j), "energy has the type complex128; it must hold numbers"),
    "text": (scaled("energy", lambda v: v.astype("S9")), "/size_00001/energy has the type"),
    "compound": (scaled("energy", lambda v: v.astype([("a", "f8")])), "/size_00001/energy has the type"),
    "ragged": (lambda f: stored(f, "energy", None, shape=(2,), dtype=h5py.vlen_dtype("f8")), "energy has the type obj"),
    "reference": (lambda f: stored(f, "group_id", None, shape=(2,), dtype=h5py.ref_dtype), "group_id has the type obj"),
    "fractional": (scaled("order", lambda v: v + 0.5), "order has the type float64; it must hold integers"),
    "flag": (scaled("pbc", lambda v: v.astype("i4") * 2), "/size_00001/pbc has the value 2; it must be true or false"),
    "not UTF-8": (scaled("config_type", lambda v: np.array([b"\xff"] * 2)), "/size_00001/config_type is not UTF-8"),
    "no units": (lambda f: f["size_00001/energy"].attrs.pop("units"), "energy has units None; they must be 'eV'"),
    "units of shape": (lambda f: setitem(f["size_00001/energy"].attrs, "units", [1, 2]), r"units array\(\[1, 2\]\)"),
    "convention": (lambda f: setitem(f.attrs, "stress_convention", "compression positive"), "the stress convention"),
    "no convention": (lambda f: f.attrs.pop("stress_convention"), "has the attribute stress_convention None"),
    "frames": (lambda f: setitem(f.attrs, "frames", 10**15), r"should hold 1000000000000000 frames but has 12"),
    "frames text": (lambda f: setitem(f.attrs, "frames", "six"), "has the attribute frames 'six'; it must be an int"),
    "level": (lambda f: setitem(f.attrs, "level_of_theory", 3), "level_of_theory 3; it must be text"),
    "order twice": (entry("order", 0, 9), "or their 'order' is not 0, 1, 2"),
    "element": (entry("numbers", (0, 0), 26), "/size_00001/numbers: frame 3 has elements other than ruthenium"),
    "infinite": (entry("energy", 1, np.inf), "/size_00001/energy: frame 9 has inf; it must be finite"),
    "huge": (entry("energy", 1, 1e200), r"energy: frame 9 has 1e\+200; it must be finite and at most"),
    "partly missing": (entry("forces", (1, 0, 2), np.nan), "/size_00001/forces: frame 9 has nan"),
    "negative weight": (entry("weight", 1, -1), "/size_00001/weight: frame 9 has -1; it must be a number from 0"),
    "weight NaN": (entry("weight", 0, np.nan), "/size_00001/weight: frame 3 has nan"),
    "weight inf": (entry("weight", 0, np.inf), "/size_00001/weight: frame 3 has inf"),
    "flat cell": (entry("cell", 0, 1.0), "/size_00001, frame 3: the periodic lattice vectors"),
    "cell inf": (entry("cell", (1, 0, 0), np.inf), "/size_00001, frame 9: the cell is"),
    "far": (entry("positions", (1, 0, 0), 1e9), "/size_00001, frame 9: position of atom 0"),
    "external link": (linked("size_00001/energy", h5py.ExternalLink("x.h5", "/e")), "energy is a link to x.h5:/e"),
    "soft link": (linked("size_00001/energy", h5py.SoftLink("/size_00002/energy")), "is a link to /size_00002/energy"),
    "linked group": (linked("size_00001", h5py.ExternalLink("x.h5", "/g")), "size_00001 is a link to x.h5:/g"),
    "circle": (lambda f: setitem(f["size_00001"], "up", f["/"]), "/size_00001/up is not in the layout"),
    "group for array": (lambda f: (delitem(f, "size_00001/energy"), f.create_group("size_00001/energy")),
                        "/size_00001/energy has units None"),
    "array for group": (lambda f: setitem(f, "size_00009", np.ones(3)), "size_00009 must be a group"),
    "root for group": (lambda f: setitem(f, "size_00009", f["/"]), "/size_00009 lacks 'order'"),
    "group twice": (lambda f: setitem(f, "size_00009", f["size_00001"]), "/size_00009/numbers has the shape"),
    "another array": (lambda f: stored(f, "force", np.ones(2)), "/size_00001/force is not in the layout, which has"),
    "another group": (lambda f: f.create_group("labels"), "/labels is not in the layout"),
    "absent in one": (lambda f: delitem(f, "size_00001/energy"), "/size_00001 lacks 'energy', which other groups have"),
    "array twice": (lambda f: (delitem(f, "size_00001/energy"),
                               setitem(f, "size_00001/energy", f["size_00002/energy"])),
                    "/size_00001/energy is linked to another array"),
    "other files": (outside, "/size_00001/energy keeps its values in other files"),
    "virtual": (virtual, "/size_00001/energy keeps its values in other files"),
    "bomb": (bomb, "/size_00001/energy has a chunk of more than its 16 bytes"),
    "never written": (claiming(shape=(2,)), "/size_00001/energy holds 0 of 16 bytes"),
    "chunks missing": (claiming(shape=(2,), chunks=(1,)), "/size_00001/energy holds 0 of 2 chunks"),
    "claims rows": (lambda f: stored(f, "order", None, shape=(10**12,), dtype="i8", chunks=(1000,), compression="gzip"),
                    r"/size_00001/order claims 8e\+12 bytes, but the file has \d+"),
    "claims a chunk": (claiming( shape=(2,), maxshape=(None,), chunks=(4 * 10**8,)),
                       r"/size_00001/energy claims 3.2e\+09 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_the_layout_does_not_allow_is_refused_by_name(tmp_path, change):
    write_dataset(DATA, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        CHANGES[change][0](file)
    with pytest.raises(DataError, match=CHANGES[change][1]) as refused:
        read_dataset(tmp_path / "a.h5")
    assert "a.h5" in str(refused.value) and "\n" not in str(refused.value)


def test_what_other_programs_may_write_is_read(tmp_path):
    """Sabotage of the checks above: other storage and other types with the same values are no fault."""
    write_dataset(DATA, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        stored(file, "energy", file["size_00001/energy"][:].astype(">f8"))
        stored(file, "weight", np.ones(2, dtype="u1"), chunks=(1,), compression="lzf")
        stored(file, "pbc", np.ones((2, 3), dtype="i4"), chunks=(2, 3), compression="gzip")
        stored(file, "forces", file["size_00001/forces"][:], chunks=(1, 1, 2), compression="gzip", fletcher32=True)
        for name in ("config_type", "group_id"):
            stored(file, name, list(file[f"size_00001/{name}"].asstr()[:]))
    assert_same_data(read_dataset(tmp_path / "a.h5"), DATA)


def test_arrays_together_may_not_claim_more_than_the_file_can_hold(tmp_path):
    rows = ALWAYS_ALLOWED_BYTES // 80
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for k in range(12):
            file.create_dataset(f"x{k}", data=np.zeros(rows), chunks=(rows,), compression="gzip")
    with open_hdf5(tmp_path / "a.h5") as file:
        assert len(file.array("x0", (rows,))) == rows
    with pytest.raises(DataError, match=r"a\.h5: x1[01] claims"), open_hdf5(tmp_path / "a.h5") as file:
        for k in range(12):
            file.array(f"x{k}", (None,))


def test_members_are_found_without_following_links(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/b"] = ["x", "y"]
        file["a/c"] = h5py.ExternalLink("/dev/zero", "/x")
        file["a"].attrs["about"] = np.bytes_("bytes")
    with open_hdf5(tmp_path / "a.h5", "copy it") as file:
        assert file.names() == ["a"] and file.names("a") == ["b", "c"]
        assert file.has("a/c") and not file.has("a/d")
        assert file.is_group("a") and not file.is_group("a/b") and file.shape("a/b") == (2,)
        assert file.array("a/b", (None,), TEXT).tolist() == ["x", "y"]
        assert file.attribute("a", "about") == "bytes" and file.attribute("a", "none") is None
        with pytest.raises(DataError, match=r"a\.h5: a/c is a link to /dev/zero:/x.*copy it"):
            file.is_group("a/c")
        with pytest.raises(DataError, match=r"a\.h5: a/d is missing"):
            file.array("a/d", ())


def test_a_file_that_another_program_writes_is_said_to_be(tmp_path):
    write_dataset(DATA, tmp_path / "a.h5")
    with open(tmp_path / "a.h5") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"a\.h5 is being written by another program"):
            read_dataset(tmp_path / "a.h5")


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf, 1e300])
def test_weights_are_refused_in_memory_too(weight):
    with pytest.raises(DataError, match=r"the weight of frame 2 is .*; it must be a number from 0"):
        replace(DATA, weight=np.where(np.arange(12) == 2, weight, 1.0))
    frames = [Atoms("Ru", info={"weight": weight})]
    with pytest.raises(DataError, match="the weight of frame 0 is"):
        Dataset.from_atoms(frames)


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    forces = DATA.forces.copy()
    forces[0, 0] = np.nan
    with pytest.raises(DataError, match="/size_00002/forces: frame 0 has nan"):
        write_dataset(replace(DATA, forces=forces), tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())


def text_of(path: Path, size: int) -> None:
    """Writes a size into the header of the free space of every heap of text."""
    content = bytearray(path.read_bytes())
    heap = content.find(b"GCOL")
    while heap >= 0:
        place, end = heap + 16, heap + int.from_bytes(content[heap + 8 : heap + 16], "little")
        while content[place : place + 2] != b"\0\0" and place < end:
            place += 16 + -(-int.from_bytes(content[place + 8 : place + 16], "little") // 8) * 8
        content[place + 8 : place + 16] = size.to_bytes(8, "little")
        heap = content.find(b"GCOL", heap + 4)
    path.write_bytes(content)


@pytest.mark.parametrize("size", [0, 2**64 - 7])
def test_a_heap_of_text_without_end_is_refused_by_all_readers(tmp_path, size):
    write_dataset(DATA, tmp_path / "a.h5")
    text_of(tmp_path / "a.h5", size)
    for read in (read_dataset, lambda path: convert([path])):
        with pytest.raises(DataError, match=r"a\.h5.* heap of text at byte \d+ does not end"):
            read(tmp_path / "a.h5")


def test_a_changed_letter_of_the_level_of_theory_is_detected(tmp_path):
    write_dataset(replace(DATA, level_of_theory="PBE, a code"), tmp_path / "a.h5")
    whole = (tmp_path / "a.h5").read_bytes()
    assert whole.count(b"PBE, a code") == 1
    (tmp_path / "a.h5").write_bytes(whole.replace(b"PBE, a code", b"PBD, a code"))
    with pytest.raises(DataError, match="has a level of theory or an energy reference that is not the one"):
        read_dataset(tmp_path / "a.h5")
