"""The preset `gpaw` gives the grids, kinds and stress that stand in the shipped DFT frames."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, hcp0001
from ase.io import read

from ru_calc.dataset.levels import stated_level
from ru_calc.errors import DataError, SettingsError
from ru_calc.files import shipped
from ru_calc.label import gpaw_level
from ru_calc.label.gpaw_run import check_installed
from ru_calc.label.tasks import Task


@pytest.fixture(scope="module")
def shipped_frames() -> list[Atoms]:
    (path,) = shipped("data/ru_gpaw.extxyz")
    frames = read(path, ":")
    assert len(frames) > 280
    return frames


def test_kinds_from_the_geometry_are_those_of_the_shipped_frames(shipped_frames):
    for atoms in shipped_frames:
        recorded = atoms.info.pop("kind")
        assert gpaw_level.kind_of(atoms) == recorded, atoms.info["uid"]
        if recorded == "slab":
            assert gpaw_level.vacuum_axes(atoms) == (False, False, True), atoms.info["uid"]


def test_grids_are_those_of_the_shipped_frames(shipped_frames):
    for atoms in shipped_frames:
        assert gpaw_level.kpoint_grid(atoms) == tuple(atoms.info["kpts"]), atoms.info["uid"]
        if gpaw_level.kind_of(atoms) != "cluster":  # of Γ alone, the density means nothing
            assert gpaw_level.kpoint_density_A(atoms) == atoms.info["kdens"], atoms.info["uid"]


def test_stress_without_the_pressure_of_the_basis_is_that_of_the_shipped_frames(shipped_frames):
    for atoms in shipped_frames:
        corrected = gpaw_level.without_basis_pressure(atoms.info["stress_raw"], atoms)
        np.testing.assert_allclose(corrected, atoms.get_stress(), atol=1e-7, err_msg=atoms.info["uid"])


def test_shipped_frames_state_the_level_of_the_preset(shipped_frames):
    assert {stated_level(atoms.info) for atoms in shipped_frames} == {gpaw_level.LEVEL}
    changed = shipped_frames[0].info["settings"].replace("400 eV", "500 eV")
    assert stated_level({"settings": changed}) != gpaw_level.LEVEL
    assert stated_level({"settings": {"sigma": 1}}) is None and stated_level({}) is None


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_slab_may_stand_along_any_vector(order):
    atoms = hcp0001("Ru", (1, 1, 4), a=2.72, c=4.29, vacuum=6.0)
    atoms.set_cell(atoms.cell.array[list(order)])
    atoms.pbc = True
    k = order.index(2)
    assert [axis for axis, empty in enumerate(gpaw_level.vacuum_axes(atoms)) if empty] == [k]
    assert [axis for axis, n in enumerate(gpaw_level.kpoint_grid(atoms)) if n == 1] == [k]


def test_kind_in_info_decides():
    wide = bulk("Ru", "sc", a=7.5)
    assert gpaw_level.kind_of(wide) == "cluster"
    wide.info["kind"] = "bulk"
    assert gpaw_level.kind_of(wide) == "bulk" and gpaw_level.kpoint_grid(wide) == (4, 4, 4)
    wide.info["kind"] = "blob"
    with pytest.raises(DataError, match="its kind is 'blob'; it must be one of bulk, slab, wire, cluster"):
        gpaw_level.kind_of(wide)


def test_frames_that_plane_waves_cannot_take_are_refused():
    with pytest.raises(DataError, match="plane waves need a cell"):
        gpaw_level.kind_of(Atoms("Ru2", [[0, 0, 0], [0, 0, 2.2]]))
    tight = bulk("Ru", "sc", a=4.0)
    tight.pbc = (True, True, False)
    with pytest.raises(DataError, match="not periodic along vector 2, so it needs 7 Å of vacuum"):
        gpaw_level.kind_of(tight)


def dimer() -> Atoms:
    return Atoms("Ru2", [[5, 5, 4], [5, 5, 6.2]], cell=[10, 10, 11], pbc=True)


def test_clusters_have_spin_from_two_starts_and_info_decides_otherwise():
    assert gpaw_level.spin_starts(bulk("Ru")) == [None]
    assert gpaw_level.spin_starts(dimer()) == [3.0, 1.0]
    assert gpaw_level.spin_starts(dimer()[:1]) == [4.0]
    for spin, starts in ((0, [None]), (1, [3.0, 1.0]), (np.int64(0), [None])):
        atoms = dimer()
        atoms.info["spin"] = spin
        assert gpaw_level.spin_starts(atoms) == starts


def test_arguments_of_a_bulk_cell_and_of_later_attempts():
    atoms = bulk("Ru")
    first, second, third = (gpaw_level.arguments(atoms, False, attempt) for attempt in range(3))
    assert first == {
        "mode": {"name": "pw", "ecut": 400.0}, "xc": "PBE", "kpts": {"size": (12, 12, 7), "gamma": True},
        "occupations": {"name": "fermi-dirac", "width": 0.1}, "spinpol": False,
        "convergence": {"eigenstates": 1e-6, "density": 5e-5}, "eigensolver": {"name": "davidson", "niter": 1},
        "mixer": {"name": "msr1", "beta": 0.15}, "maxiter": 80,
    }  # fmt: skip
    assert second["mixer"]["beta"] == 0.05 and second["maxiter"] == 150
    assert third["mixer"] == {"name": "pulay", "beta": 0.03, "nmaxold": 8, "weight": 50.0} and third["maxiter"] == 250
    assert gpaw_level.arguments(atoms, False, 7) == third
    assert {second["eigensolver"]["niter"], third["eigensolver"]["niter"]} == {2}


def test_arguments_of_a_cluster_and_of_an_atom_with_spin():
    pair, atom = (gpaw_level.arguments(atoms, True, 0) for atoms in (dimer(), dimer()[:1]))
    assert pair["spinpol"] and pair["symmetry"] == "off" and "hund" not in pair
    assert pair["kpts"]["size"] == (1, 1, 1) and pair["convergence"]["eigenstates"] == 1e-5
    assert pair["eigensolver"]["niter"] == 2 and atom["hund"] is True


def test_without_gpaw_the_preset_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gpaw", None)
    with pytest.raises(SettingsError, match=r"GPAW is not installed .* pip install"):
        check_installed()


def test_gpaw_reproduces_a_shipped_frame(shipped_frames):
    """The cheapest bulk cell again, where GPAW is installed."""
    pytest.importorskip("gpaw")
    from ru_calc.label.gpaw_run import label_by_gpaw

    atoms = next(atoms for atoms in shipped_frames if atoms.info["uid"] == "eos_wide_014")
    results, record = label_by_gpaw(Task("a", atoms, None, {}, "gpaw"))
    assert results["free_energy"] == pytest.approx(atoms.calc.results["free_energy"], abs=1e-5)
    assert results["energy"] == pytest.approx(atoms.calc.results["energy"], abs=1e-5)
    np.testing.assert_allclose(results["stress"], atoms.get_stress(), atol=1e-6)
    assert record["scf_steps"] == atoms.info["scf_steps"]
