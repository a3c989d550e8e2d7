"""The model of torch-sim: many systems at once are each alone with the calculator, in one call, relaxation and runs."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, hcp0001
from ase.geometry import find_mic
from ase.md.verlet import VelocityVerlet
from ase.units import fs

from ru_calc import RuSchNet
from ru_calc.engine.device import DeviceEngine
from ru_calc.errors import DataError, ModelError, SettingsError
from ru_calc.modelfiles.read import read_model_file
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs, VerletList, find_pairs

ts = pytest.importorskip("torch_sim")
runs = pytest.importorskip("torch_sim_runs")
TorchSimModel = pytest.importorskip("ru_calc.calculator.torch_sim").TorchSimModel


def systems() -> list[Atoms]:
    """Of different sizes and shapes; a cell smaller than the cutoff, a skewed one, a slab with vacuum."""
    found = [
        bulk("Ru", "hcp", a=2.72, c=4.29) * (3, 2, 2), bulk("Ru", "fcc", a=3.82), bulk("Ru", "bcc", a=3.06) * (2, 2, 1),
        hcp0001("Ru", (2, 2, 4), a=2.72, c=4.29, vacuum=6.0),
    ]  # fmt: skip
    for k, atoms in enumerate(found):
        atoms.rattle(0.08, seed=k)
        atoms.pbc = True
    found[2].set_cell(found[2].cell.array + [[0, 0.2, 0], [0, 0, 0.3], [0.1, 0, 0]], scale_atoms=True)
    return found


@pytest.fixture(scope="module")
def model() -> TorchSimModel:
    return TorchSimModel(device="cpu")


def state_of(atoms: list[Atoms], dtype: torch.dtype = torch.float64) -> ts.SimState:
    return ts.io.atoms_to_state(atoms, torch.device("cpu"), dtype)


def alone(atoms: Atoms, dtype: str = "float64") -> tuple[float, np.ndarray, np.ndarray]:
    atoms.calc = RuSchNet(device="cpu", dtype=dtype)
    return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(voigt=False)


def check_each(found: dict[str, torch.Tensor], several: list[Atoms], tolerance: float, dtype: str = "float64") -> None:
    start = 0
    for k, atoms in enumerate(several):
        energy, forces, stress = alone(atoms, dtype)
        own = slice(start, start := start + len(atoms))
        assert abs(float(found["energy"][k]) - energy) < tolerance * len(atoms)
        np.testing.assert_allclose(found["forces"][own], forces, rtol=0, atol=tolerance)
        np.testing.assert_allclose(found["stress"][k], stress, rtol=0, atol=tolerance)


def test_many_systems_at_once_are_each_alone_with_the_calculator(model: TorchSimModel) -> None:
    found = model(state_of(systems()))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "energy": (4,), "forces": (45, 3), "stress": (4, 3, 3)
    }  # fmt: skip
    assert all(value.dtype == torch.float64 for value in found.values())
    check_each(found, systems(), 1e-11)
    with pytest.raises(AssertionError):
        check_each(found, [*systems()[:2], *systems()[:1:-1]], 1e-11)


def test_slabs_and_clusters_are_each_alone_with_the_calculator(model: TorchSimModel) -> None:
    slabs = [hcp0001("Ru", (2, 2, n), a=2.72, c=4.29, vacuum=6.0) for n in (2, 3)]
    clusters = [
        Atoms("Ru3", [[0, 0, 0], [2.4, 0, 0], [0.7, 2.3, 0.1]]),
        Atoms("Ru"),
        Atoms("Ru2", [[0, 0, 0], [0, 0, 3]]),
    ]
    for k, atoms in enumerate(slabs):
        atoms.rattle(0.08, seed=k)
        atoms.pbc = (True, True, False)
    state = state_of(slabs)
    state.pbc = torch.tensor([True, True, False])  # version 0.3 makes it False
    found = model(state)
    check_each(found, slabs, 1e-11)
    assert abs(float(found["energy"][0]) - alone(Atoms(slabs[0], pbc=False))[0]) > 1
    found = model(state_of(clusters))
    assert found["stress"].isnan().all()
    for atoms, energy, own in zip(clusters, found["energy"], ((0, 3), (3, 4), (4, 6)), strict=True):
        atoms.calc = RuSchNet(device="cpu", dtype="float64")
        assert float(energy) == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
        np.testing.assert_allclose(found["forces"][slice(*own)], atoms.get_forces(), rtol=0, atol=1e-11)


@pytest.mark.skipif(not runs.OLD, reason="torch-sim keeps the pbc of slabs since version 0.4")
def test_slabs_that_torch_sim_makes_clusters_are_reported_once() -> None:
    model, slab = TorchSimModel(device="cpu"), hcp0001("Ru", (2, 2, 2), a=2.72, c=4.29, vacuum=6.0)
    with pytest.warns(UserWarning, match="so the atoms are clusters although they have a cell"):
        model(state_of([slab]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model(state_of([slab]))
        TorchSimModel(device="cpu")(state_of([Atoms("Ru")]))


def test_the_device_engine_gives_the_same(model: TorchSimModel) -> None:
    file = read_model_file("default")
    other = TorchSimModel(device="cpu")
    other._predictor = DeviceEngine(file.header["hyperparameters"], file.weights, "float64", "cpu")
    for _ in range(2):  # the list is kept
        check_each(other(state_of(systems())), systems(), 1e-9)


def test_it_passes_the_checks_of_torch_sim(model: TorchSimModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_ruthenium(several: list[Atoms], device: torch.device, dtype: torch.dtype) -> ts.SimState:
        return made([Atoms("Ru" * len(a), a.positions, cell=a.cell, pbc=a.pbc) for a in several], device, dtype)

    made = ts.io.atoms_to_state
    monkeypatch.setattr(ts.io, "atoms_to_state", of_ruthenium)
    ts.models.interface.validate_model_outputs(model, torch.device("cpu"), torch.float64)


def test_arguments_of_torch_and_states_as_mappings_are_taken(model: TorchSimModel) -> None:
    state = state_of(systems())
    names = ("positions", "cell", "pbc", "atomic_numbers", "system_idx")
    other = TorchSimModel(device=torch.device("cpu"), dtype=torch.float64)
    found, expected = other({name: getattr(state, name) for name in names}), model(state)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-12)
    other._device = torch.device("cuda")
    with pytest.raises(SettingsError, match="device of the state is cpu, of the model cuda"):
        other(state)


def test_float32_states_take_a_float32_model() -> None:
    model = TorchSimModel(device="cpu", dtype="float32")
    check_each(model(state_of(systems(), torch.float32)), systems(), 2e-4, "float32")
    with pytest.raises(SettingsError, match=r"dtype of the state is torch\.float64, of the model torch\.float32"):
        model(state_of(systems()))


def test_only_what_is_asked_for_is_computed() -> None:
    model = TorchSimModel(device="cpu", compute_stress=False)
    assert set(model(state_of(systems()[1:2]))) == {"energy", "forces"}
    model.compute_stress, model.compute_forces = True, False
    assert set(model(state_of(systems()[1:2]))) == {"energy", "stress"}


def test_lists_are_kept_while_they_hold_and_systems_may_change(model: TorchSimModel) -> None:
    several = systems()
    model(state_of(several))
    kept = model._pairs
    for atoms in several:
        atoms.rattle(0.05, seed=9)
    check_each(model(state_of(several)), several, 1e-11)
    assert model._pairs is kept
    several[1].positions += several[1].cell[0]
    several[0].rattle(0.9, seed=3)
    check_each(model(state_of(several)), several, 1e-9)
    assert model._pairs is not kept
    check_each(model(state_of(several[2:])), several[2:], 1e-11)


def test_a_list_that_is_kept_too_long_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, several = TorchSimModel(device="cpu"), systems()
    model(state_of(several))
    monkeypatch.setattr(VerletList, "_followed", lambda self, structures: structures)
    several[0].rattle(0.9, seed=3)
    with pytest.raises(AssertionError):
        check_each(model(state_of(several)), several, 1e-9)


def test_runs_at_constant_energy_are_those_of_ase(model: TorchSimModel) -> None:
    several = systems()[:3]
    rng = np.random.default_rng(5)
    for atoms in several:
        atoms.set_velocities(0.02 * rng.normal(size=(len(atoms), 3)))
    momenta = torch.from_numpy(np.concatenate([atoms.get_momenta() for atoms in several]))
    state = runs.constant_energy(model, state_of(several), momenta, 2 * fs, 20)
    start = 0
    for atoms in several:
        atoms.calc = RuSchNet(device="cpu", dtype="float64")
        VelocityVerlet(atoms, 2 * fs).run(20)
        own = slice(start, start := start + len(atoms))
        apart = find_mic(state.positions[own].numpy() - atoms.positions, atoms.cell)[1]  # torch-sim wraps
        assert apart.max() < 1e-9


def test_fire_takes_each_system_where_it_goes_alone(model: TorchSimModel) -> None:
    several = [systems()[k] for k in (0, 2, 3)]
    together = runs.fire(model, state_of(several), 30)
    for k, atoms in enumerate(several):
        own = together.system_idx == k
        single = runs.fire(TorchSimModel(device="cpu"), state_of([atoms]), 30)
        torch.testing.assert_close(together.positions[own], single.positions, rtol=0, atol=1e-9)
        assert float(together.forces[own].abs().max()) < np.abs(alone(atoms)[1]).max() / 4


def test_systems_that_come_and_go_end_where_they_would_alone(model: TorchSimModel) -> None:
    several = [systems()[k] for k in (2, 1, 2, 1)]
    for k, atoms in enumerate(several):
        atoms.rattle(0.05, seed=20 + k)
    two_at_once = ts.InFlightAutoBatcher(model=model, memory_scales_with="n_atoms", max_memory_scaler=6)
    found = runs.relaxed_with_cells(model, state_of(several), 400, autobatcher=two_at_once)
    for atoms, energy in zip(several, found.energy, strict=True):
        expected = runs.relaxed_with_cells(TorchSimModel(device="cpu"), state_of([atoms]), 400)
        assert float(energy) == pytest.approx(float(expected.energy[0]), abs=1e-7)


def test_relaxation_of_many_systems_ends_at_their_minima(model: TorchSimModel) -> None:
    several = [systems()[k] for k in (0, 2)]
    final = runs.relaxed_with_cells(model, state_of(several), 400)
    crystal = bulk("Ru", "hcp", a=2.722, c=4.28)
    relaxed = model(state_of(final.to_atoms()))
    assert float(relaxed["forces"].abs().max()) < 2e-3 and float(relaxed["stress"].abs().max()) < 1e-4
    assert float(relaxed["energy"][0]) / len(several[0]) == pytest.approx(alone(crystal)[0] / 2, abs=1e-3)


def test_what_cannot_be_used_is_named(model: TorchSimModel) -> None:
    foreign, twice = systems()[0], systems()[2]
    foreign.numbers[0] = 26
    with pytest.raises(DataError, match="system 1: atom 0 is Fe; this potential is for ruthenium only"):
        model(state_of([systems()[1], foreign]))
    twice.positions[1] = twice.positions[0] + 0.01
    with pytest.raises(DataError, match=r"system 1: atoms 0 and 1 are 0\.017 Å apart"):
        model(state_of([systems()[1], twice]))
    lost = state_of(systems()[:2])
    model(lost)
    lost.cell[0] = torch.nan
    with pytest.raises(DataError, match=r"system 0: the cell is .* must be finite"):
        model(lost)
    lost = state_of(systems()[:2])
    lost.positions[-1] = torch.nan
    with pytest.raises(DataError, match=r"system 1: position of atom 0 is .* must be finite"):
        model(lost)
    with pytest.raises(ModelError):
        TorchSimModel("no-such-model")
    with pytest.raises(SettingsError, match="device is 'mps'"):
        TorchSimModel(device=torch.device("mps"))
    with pytest.raises(SettingsError, match="dtype is 'float16'"):
        TorchSimModel(dtype=torch.float16)
    with pytest.raises(SettingsError, match="engine is 'compiled', but it only evaluates the family schnet"):
        TorchSimModel("gnn", device="cpu", engine="compiled")


def test_without_torch_sim_the_command_that_installs_it_is_named() -> None:
    code = "import sys; sys.modules['torch_sim'] = None; import ru_calc.calculator.torch_sim"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "pip install 'ru-calc[torch-sim]'" in done.stderr


def test_joined_lists_are_those_of_all_frames() -> None:
    structures = Structures.from_atoms(systems())
    joined = NeighborPairs.joined([find_pairs(structures.frame(k), 5.0) for k in range(4)], structures.offsets)
    for name in ("first", "second", "shifts", "frames"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(find_pairs(structures, 5.0), name))
