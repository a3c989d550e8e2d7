"""The model of torch-sim: many systems at once are each alone with the calculator, in one call, relaxation and runs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, hcp0001
from ase.geometry import find_mic
from ase.md.verlet import VelocityVerlet
from ase.units import fs

from ru_calc import RuSchNet
from ru_calc.errors import DataError, ModelError, SettingsError
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs, VerletList, find_pairs

ts = pytest.importorskip("torch_sim")
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


def test_float32_states_take_a_float32_model() -> None:
    model = TorchSimModel(device="cpu", dtype="float32")
    check_each(model(state_of(systems(), torch.float32)), systems(), 2e-4, "float32")
    with pytest.raises(SettingsError, match=r"the state is of torch.float64, the model of torch.float32"):
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
    state = state_of(several)
    momenta = torch.from_numpy(np.concatenate([atoms.get_momenta() for atoms in several]))
    init, step = ts.integrators.nve(model, dt=torch.tensor(2 * fs, dtype=torch.float64), kT=torch.tensor(0.0))
    state = init(state)
    state.momenta = momenta.clone()
    for _ in range(20):
        state = step(state)
    start = 0
    for atoms in several:
        atoms.calc = RuSchNet(device="cpu", dtype="float64")
        VelocityVerlet(atoms, 2 * fs).run(20)
        own = slice(start, start := start + len(atoms))
        apart = find_mic(state.positions[own].numpy() - atoms.positions, atoms.cell)[1]  # torch-sim wraps
        assert apart.max() < 1e-9


def test_relaxation_of_many_systems_ends_at_their_minima(model: TorchSimModel) -> None:
    several = [systems()[k] for k in (0, 2)]
    final = ts.optimize(
        state_of(several), model, optimizer=ts.frechet_cell_fire, max_steps=400,
        convergence_fn=ts.generate_force_convergence_fn(force_tol=1e-3, include_cell_forces=True),
    )  # fmt: skip
    crystal = bulk("Ru", "hcp", a=2.722, c=4.28)
    relaxed = model(state_of(final.to_atoms()))
    assert float(relaxed["forces"].abs().max()) < 2e-3 and float(relaxed["stress"].abs().max()) < 1e-4
    assert float(relaxed["energy"][0]) / len(several[0]) == pytest.approx(alone(crystal)[0] / 2, abs=1e-3)


def test_what_cannot_be_used_is_named(model: TorchSimModel) -> None:
    foreign, twice = systems()[0], systems()[2]
    foreign.numbers[3] = 26
    with pytest.raises(DataError, match=r"atom 3 has the atomic number 26; this potential is for ruthenium"):
        model(state_of([foreign]))
    twice.positions[1] = twice.positions[0] + 0.01
    with pytest.raises(DataError, match=r"system 1: atoms 0 and 1 are 0\.017 Å apart"):
        model(state_of([systems()[1], twice]))
    lost = state_of(systems()[:2])
    model(lost)
    lost.positions[-1] = torch.nan
    with pytest.raises(DataError, match="system 1: positions are not finite"):
        model(lost)
    with pytest.raises(ModelError):
        TorchSimModel("no-such-model")


def test_without_torch_sim_the_command_that_installs_it_is_named() -> None:
    code = "import sys; sys.modules['torch_sim'] = None; import ru_calc.calculator.torch_sim"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "pip install 'ru-calc[torch-sim]'" in done.stderr


def test_joined_lists_are_those_of_all_frames() -> None:
    structures = Structures.from_atoms(systems())
    joined = NeighborPairs.joined([find_pairs(structures.frame(k), 5.0) for k in range(4)], structures.offsets)
    for name in ("first", "second", "shifts", "frames"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(find_pairs(structures, 5.0), name))
