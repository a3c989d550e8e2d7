"""What LAMMPS computes, on any number of processes, is what the engine computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from conftest import small_model
from parity import MODELS

from ru_calc import RuSchNet
from ru_calc.checks.structures import crystal, standard_structures
from ru_calc.lammps.launch import LammpsError
from ru_calc.lammps.single_point import evaluate
from ru_calc.lammps.tables_file import write_tables
from ru_calc.modelfiles import open_model
from ru_calc.modelfiles.load import save_model
from ru_calc.predictor import WANTED, Prediction

pytestmark = pytest.mark.usefixtures("lammps_plugin")
STRUCTURES = standard_structures()
FORCES_EV_PER_A, RELATIVE, STRESS_EV_PER_A3 = 1e-10, 1e-12, 1e-12
Tables = Callable[..., Path]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    made: dict[tuple[str, str], Path] = {}

    def tables_of(model: str | Path = "default", dtype: str = "float64") -> Path:
        key = (str(model), dtype)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("tables") / "ru.tables"
            write_tables(made[key], model, dtype)
        return made[key]

    return tables_of


def expected(atoms: Atoms, model: str | Path = "default", dtype: str = "float64") -> Prediction:
    return open_model(model, dtype).predictor.predict([atoms], None, (*WANTED, "stresses"))


def assert_equal(found: Prediction, one: Prediction, looser: float = 1.0) -> None:
    scale = looser * max(1.0, np.abs(one.forces).max())
    np.testing.assert_allclose(found.forces, one.forces, rtol=0, atol=FORCES_EV_PER_A * scale)
    for name in ("energy", "energies"):
        np.testing.assert_allclose(getattr(found, name), getattr(one, name), rtol=RELATIVE * looser)
    for name in ("stress", "stresses"):
        np.testing.assert_allclose(getattr(found, name), getattr(one, name), rtol=0, atol=STRESS_EV_PER_A3 * scale)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", STRUCTURES)
def test_it_equals_the_engine(name: str, ranks: int, tables: Tables) -> None:
    atoms = STRUCTURES[name]
    assert_equal(evaluate(atoms, tables(), ranks), expected(atoms))


def test_four_processes_equal_the_engine(tables: Tables) -> None:
    atoms = STRUCTURES["crystal"]
    assert_equal(evaluate(atoms, tables(), 4), expected(atoms))


def test_processes_without_atoms_take_part(tables: Tables) -> None:
    """Four domains along the normal of a slab in vacuum, of which two are empty."""
    atoms = STRUCTURES["slab"].copy()
    atoms.pbc = True
    atoms.cell[2] = [0.0, 0.0, 60.0]
    assert np.ptp(atoms.positions[:, 2]) < 15.0
    assert_equal(evaluate(atoms, tables(), 4, before="processors 1 1 4"), expected(atoms))


@pytest.mark.parametrize("name", MODELS)
def test_every_shape_of_network_equals_the_engine(name: str, tables: Tables, tmp_path: Path) -> None:
    save_model(tmp_path / "m.safetensors", small_model(**MODELS[name]), {})
    atoms = STRUCTURES["liquid"]
    one = expected(atoms, tmp_path / "m.safetensors")
    assert_equal(evaluate(atoms, tables(tmp_path / "m.safetensors"), 2), one)


@pytest.mark.parametrize("model", ["default", "plain", "fast"])
def test_single_precision_equals_the_engine_to_rounding(model: str, tables: Tables) -> None:
    atoms = STRUCTURES["crystal"]
    assert_equal(evaluate(atoms, tables(model, "float32"), 2), expected(atoms, model, "float32"), 3e6)


def test_a_tiled_decomposition_gives_the_same(tables: Tables) -> None:
    """Domains of equal numbers of atoms, around a corner of the cell that is empty."""
    atoms = crystal(64)
    del atoms[np.flatnonzero((atoms.get_scaled_positions() < 0.5).all(axis=1))]
    balanced = "comm_style tiled\nbalance 1.0 rcb"
    assert_equal(evaluate(atoms, tables(), 2, after=balanced), expected(atoms))


def test_a_lone_atom_has_the_energy_of_an_isolated_atom(tables: Tables) -> None:
    for dtype in ("float32", "float64"):
        energy = evaluate(Atoms("Ru", pbc=False), tables("default", dtype)).energy[0]
        assert energy == open_model().header["hyperparameters"]["atom_energy_eV"]


def test_a_cell_smaller_than_the_cutoff_on_four_processes(tables: Tables) -> None:
    atoms = bulk("Ru", "fcc", a=3.8, cubic=True)
    atoms.rattle(0.1, seed=1)
    assert_equal(evaluate(atoms, tables(), 4), expected(atoms))


def test_a_hybrid_overlay_adds_another_potential(tables: Tables) -> None:
    atoms, path = STRUCTURES["crystal"], tables()
    added = f"pair_style hybrid/overlay ruschnet zero 7.0\npair_coeff * * ruschnet {path} Ru\npair_coeff * * zero"
    assert_equal(evaluate(atoms, path, 2, after=added), expected(atoms))


def test_the_uncertainty_of_the_atoms_is_there_for_a_fix(tables: Tables, tmp_path: Path) -> None:
    """By `fix pair`; a model without one has none."""
    atoms = STRUCTURES["crystal"]
    fix = (
        "fix u all pair 1 ruschnet uncertainty 1\nrun 0\n"
        "write_dump all custom {} id f_u modify sort id format float %.15g"
    )
    evaluate(atoms, tables(), 2, after=fix.format(tmp_path / "u.dump"))
    found = np.loadtxt(tmp_path / "u.dump", skiprows=9)[:, 1]
    np.testing.assert_allclose(found, RuSchNet(dtype="float64").uncertainty(atoms), rtol=1e-9)
    save_model(tmp_path / "m.safetensors", small_model(), {})
    with pytest.raises(LammpsError, match="uncertainty"):
        evaluate(atoms, tables(tmp_path / "m.safetensors"), after=fix.format(tmp_path / "none.dump"))


def test_a_changed_table_is_noticed(tables: Tables, tmp_path: Path) -> None:
    """One weight in a hundred thousand differs by 10⁻⁶: the file is whole, and the forces are others."""
    from changed_tables import changed

    atoms = STRUCTURES["crystal"]
    other = changed(tables(), tmp_path / "other.tables", "filter_0", lambda table: table.put(2000, table[2000] + 1e-6))
    with pytest.raises(AssertionError):
        assert_equal(evaluate(atoms, other), expected(atoms))
