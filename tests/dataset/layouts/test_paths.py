"""What a path means: a file of that very name, frames of a file, a folder; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from labelled import lj_frames

from ru_calc.dataset.convert import ConvertSettings, convert
from ru_calc.dataset.layouts import files_of, locate, read_frames, read_last
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError

FRAMES = lj_frames(6)
ENERGIES = np.array([atoms.get_potential_energy() for atoms in FRAMES])


@pytest.mark.parametrize(
    ("index", "taken"), [("0", [0]), ("-1", [5]), (":2", [0, 1]), ("::2", [0, 2, 4]), ("-2:", [4, 5]), (":", range(6))]
)
@pytest.mark.parametrize("name", ["a.extxyz", "a.traj", "a.db"])
def test_an_index_follows_the_at_sign(tmp_path, name, index, taken):
    write(tmp_path / name, FRAMES)
    found = convert([f"{tmp_path / name}@{index}"]).dataset
    np.testing.assert_allclose(found.energy, ENERGIES[list(taken)])


def test_a_file_whose_name_has_an_at_sign_comes_first(tmp_path):
    (tmp_path / "run@300K").mkdir()
    for name in ("a.extxyz", "a.extxyz@0", "run@300K/final@1.extxyz"):
        write(tmp_path / name, FRAMES[: 3 if name == "a.extxyz" else 2], format="extxyz")
    extxyz = Reading(format="extxyz")
    assert len(read_frames(tmp_path / "a.extxyz@0", extxyz)) == 2
    assert len(read_frames(f"{tmp_path}/a.extxyz@1")) == 1
    assert len(read_frames(tmp_path / "run@300K" / "final@1.extxyz")) == 2
    assert len(read_frames(f"{tmp_path}/run@300K/final@1.extxyz@1")) == 1


def test_the_last_frame_is_the_structure_of_a_file(tmp_path):
    write(tmp_path / "a.extxyz", FRAMES)
    np.testing.assert_allclose(read_last(tmp_path / "a.extxyz").positions, FRAMES[-1].positions, atol=1e-7)
    np.testing.assert_allclose(read_last(f"{tmp_path}/a.extxyz@2").positions, FRAMES[2].positions, atol=1e-7)
    with pytest.raises(DataError, match=r"names 2 frames; name one, as .*a\.extxyz@0"):
        read_last(f"{tmp_path}/a.extxyz@:2")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b.extxyz", "there is no file .*b.extxyz"), ("b.extxyz@1", "there is no file"),
        ("a.extxyz@x", "'x' is no index of frames of .*a.extxyz"), ("a.extxyz@9", "no frames of that index"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(tmp_path, name, message):
    write(tmp_path / "a.extxyz", FRAMES)
    with pytest.raises(DataError, match=message):
        read_frames(f"{tmp_path}/{name}")


def test_a_folder_is_read_and_what_is_not_is_named(tmp_path):
    for name in (
        "b/frames_10.extxyz",
        "b/frames_2.extxyz",
        "a.traj",
        "c/OUTCAR",
        "c/vasprun.xml",
        "README.md",
        ".x.xyz",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    sources, unread = files_of(tmp_path)
    assert [str(one.path.relative_to(tmp_path)) for one in sources] == [
        "a.traj", "b/frames_2.extxyz", "b/frames_10.extxyz", "c/vasprun.xml"
    ]  # fmt: skip
    assert [path.removeprefix(f"{tmp_path}/") for path in unread] == ["README.md", "c/OUTCAR"]
    with pytest.raises(DataError, match=r"the folder .* holds no file whose name tells that it is data"):
        (tmp_path / "d").mkdir()
        files_of(tmp_path / "d")


def test_frames_of_a_folder_are_those_of_its_files_and_groups_are_files(tmp_path):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "a.extxyz", FRAMES[:2])
    write(tmp_path / "set" / "b.traj", FRAMES[2:])
    (tmp_path / "set" / "notes.txt").write_text("hello")
    result = convert([tmp_path / "set"], ConvertSettings(group_by="file"))
    np.testing.assert_allclose(result.dataset.energy, ENERGIES)
    assert len(set(result.dataset.group_id)) == 2
    assert f"not read: {tmp_path / 'set' / 'notes.txt'}" in result.lines()
    assert locate(tmp_path / "set").index is None


def test_a_name_that_misleads_needs_a_format(tmp_path):
    write(tmp_path / "frames.cif", FRAMES, format="extxyz")
    with pytest.raises(DataError, match=r"frames\.cif (cannot be read .*--format names one|contains no frames)"):
        read_frames(tmp_path / "frames.cif")
    assert len(read_frames(tmp_path / "frames.cif", Reading(format="extxyz"))) == 6


def test_partly_occupied_sites_are_refused_by_what_the_file_says_of_them(tmp_path):
    atoms = Atoms("Ru2", [[0, 0, 0], [1.5, 1.5, 2]], cell=[3, 3, 4], pbc=True)
    atoms.info["occupancy"] = {"0": {"Ru": 1.0}, "1": {"Ru": 0.75, "Os": 0.25}}
    write(tmp_path / "a.extxyz", atoms)
    with pytest.raises(DataError, match=r"a\.extxyz, frame 0: site 1 is 75 % Ru and 25 % Os; .* an ordered cell"):
        read_frames(tmp_path / "a.extxyz")
    del atoms.info["occupancy"]
    atoms.new_array("occupancy", np.array([1.0, 0.5]))
    write(tmp_path / "a.extxyz", atoms)
    with pytest.raises(DataError, match=r"site 1 is 50 % Ru"):
        read_frames(tmp_path / "a.extxyz")
    atoms.arrays["occupancy"][:] = 1.0
    write(tmp_path / "a.extxyz", atoms)
    assert len(read_frames(tmp_path / "a.extxyz")) == 1


def test_a_cif_with_a_mixed_site_is_refused(tmp_path):
    (tmp_path / "a.cif").write_text(
        "data_a\n_cell_length_a 3\n_cell_length_b 3\n_cell_length_c 4\n_cell_angle_alpha 90\n_cell_angle_beta 90\n"
        "_cell_angle_gamma 90\n_symmetry_space_group_name_H-M 'P 1'\nloop_\n_atom_site_label\n_atom_site_type_symbol\n"
        "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"
        "Ru1 Ru 0 0 0 0.9\nRu2 Ru 0.5 0.5 0.5 1.0\n"
    )
    with pytest.raises(DataError, match="site 0 is 90 % Ru; "):
        read_last(tmp_path / "a.cif")


def test_a_blank_first_line_is_named(tmp_path):
    write(tmp_path / "a.extxyz", FRAMES)
    (tmp_path / "a.extxyz").write_text("\n" + (tmp_path / "a.extxyz").read_text())
    with pytest.raises(DataError, match=r"a\.extxyz: line 1 is blank, but must be the number of atoms: remove it$"):
        read_frames(tmp_path / "a.extxyz")
