"""`RuSchNet` keeps ASE's conventions, and computes what `derivatives` computes."""

from __future__ import annotations

import configparser
import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.calculators.calculator import (
    CalculationFailed,
    Calculator,
    CalculatorSetupError,
    InputError,
    PropertyNotImplementedError,
)
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.outputs import all_outputs
from checks import (
    assert_same,
    check_translation,
    check_wrap,
    constant_pressure_walk,
    evaluator,
    frames,
    rattled,
    small_potential,
)
from conftest import rewritten

import ru_calc
from ru_calc import RuCalculator, RuSchNet, kernels
from ru_calc.engine.engine import Engine
from ru_calc.modelfiles import model_names
from ru_calc.modelfiles.load import save_model
from ru_calc.potentials.derivatives import Reference
from ru_calc.predictor import Prediction, predict_all
from ru_calc.structures import Structures

FRAMES = frames()
ROOT = Path(__file__).parents[2]
WITHOUT_VOLUME = ["slab", "wire", "cluster", "dimer", "lone"]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "small.safetensors"
    save_model(path, small_potential(), {"licence": "MIT"})
    return str(path)


@pytest.fixture
def calc(model_file: str) -> RuSchNet:
    return RuSchNet(model_file, device="cpu", dtype="float64")


def served(calc: Calculator, name: str = "hcp") -> Atoms:
    atoms = FRAMES[name].copy()
    atoms.calc = calc
    return atoms


class Counted:
    """Stands before a predictor and writes down what was wanted of it."""

    def __init__(self, calc: RuSchNet) -> None:
        assert calc.cutoff_A > 0  # loads the model
        self.predictor, self.wanted = calc._predictor, []
        calc._predictor = self

    def predict(self, structures, pairs, want):
        self.wanted.append(set(want))
        return self.predictor.predict(structures, pairs, want)


def results_of(calc: Calculator, atoms: Atoms) -> Prediction:
    atoms = atoms.copy()
    atoms.calc = calc
    return Prediction(
        np.array([atoms.get_potential_energy()]),
        atoms.get_potential_energies(),
        atoms.get_forces(),
        atoms.get_stress()[None] if atoms.cell.rank == 3 else None,
    )


def check_same_as_potential(calc: Calculator, atoms: Atoms) -> None:
    """The calculator gives what the potential of the file gives with a fresh neighbour list."""
    stored = small_potential().float().double()  # files hold float32
    expected = evaluator(stored)(atoms)
    if atoms.cell.rank < 3:
        expected = Prediction(expected.energy, expected.energies, expected.forces)
    assert_same(results_of(calc, atoms), expected, "float64 tables")


# Values


def test_one_calculator_serves_atoms_of_all_kinds(calc: RuSchNet) -> None:
    for atoms in [*FRAMES.values(), *reversed(FRAMES.values())]:
        check_same_as_potential(calc, atoms)


def test_a_weight_changed_by_a_thousandth_is_noticed(tmp_path: Path) -> None:
    model = small_potential()
    with torch.no_grad():
        model.energy[0].weight[0, 0] += 1e-3
    save_model(tmp_path / "changed.safetensors", model, {})
    with pytest.raises(AssertionError):
        check_same_as_potential(RuSchNet(tmp_path / "changed.safetensors", "cpu", "float64"), FRAMES["hcp"])


@pytest.mark.skipif(kernels.fastest() is None, reason="there is no compiled module")
def test_on_the_cpu_the_compiled_engine_computes(model_file: str) -> None:
    for engine, kind in (("auto", Engine), ("compiled", Engine), ("reference", Reference)):
        calc = RuSchNet(model_file, "cpu", "float64", engine=engine, threads=2)
        assert isinstance(calc.predictor, kind)
        assert calc.engine == ("reference" if kind is Reference else "compiled")
        assert calc.predictor.threads == 2
        for name in ("hcp", "slab", "dimer"):
            check_same_as_potential(calc, FRAMES[name])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cuda_device_agrees_with_the_cpu(model_file: str, dtype: str) -> None:
    for atoms in FRAMES.values():
        found, expected = (results_of(RuSchNet(model_file, device, dtype), atoms) for device in ("cuda", "cpu"))
        assert_same(found, expected, dtype)


@pytest.mark.parametrize("check", [check_translation, check_wrap])
@pytest.mark.parametrize("name", ["hcp", "skewed", "slab"])
def test_atoms_far_away_or_unwrapped_are_exact(calc: RuSchNet, name: str, check: Callable) -> None:
    check(lambda atoms: results_of(calc, atoms), FRAMES[name])


def test_forces_and_stress_agree_with_ases_finite_differences(calc: RuSchNet) -> None:
    atoms = served(calc, "two atoms")
    assert np.abs(atoms.get_forces() - calculate_numerical_forces(atoms, eps=1e-4)).max() < 1e-5
    assert np.abs(atoms.get_stress() - calculate_numerical_stress(atoms, eps=1e-5)).max() < 1e-6


def test_stresses_of_atoms_add_up_to_the_stress(calc: RuSchNet) -> None:
    atoms = served(calc)
    first = atoms.get_stresses()
    np.testing.assert_allclose(first.sum(axis=0), atoms.get_stress(), rtol=0, atol=1e-12)
    atoms.positions[0] += 0.1
    assert not np.allclose(atoms.get_stresses(), first)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_are_float64_under_standard_names(model_file: str, dtype: str) -> None:
    atoms = served(RuSchNet(model_file, "cpu", dtype))
    atoms.get_stress()
    atoms.get_stresses()
    assert set(atoms.calc.results) == set(RuSchNet.implemented_properties) <= set(all_outputs)
    shapes = {"energies": (16,), "forces": (16, 3), "stress": (6,), "stresses": (16, 6)}
    for name, shape in shapes.items():
        assert atoms.calc.results[name].dtype == np.float64
        assert atoms.calc.results[name].shape == shape
    assert type(atoms.calc.results["energy"]) is float
    assert atoms.get_potential_energy() == atoms.get_potential_energy(force_consistent=True)
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    atoms.calc.export_properties()


def test_results_handed_out_are_copies(calc: RuSchNet) -> None:
    atoms = served(calc)
    atoms.get_forces()[:] = 0.0
    assert np.abs(atoms.get_forces()).max() > 0


# The neighbour list is invisible


def moving(steps: int) -> list[Atoms]:
    return constant_pressure_walk(FRAMES["hcp"], steps)


@pytest.mark.parametrize("skin_A", [0.0, 0.5, 2.0])
def test_results_do_not_depend_on_the_skin(model_file: str, skin_A: float) -> None:
    calc = RuSchNet(model_file, "cpu", "float64", skin_A=skin_A)
    for atoms in moving(12):
        check_same_as_potential(calc, atoms)
    assert calc._neighbors.rebuilds < 12 or skin_A < 1.0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_do_not_depend_on_the_past_to_the_last_bit(model_file: str, dtype: str) -> None:
    used = RuSchNet(model_file, "cpu", dtype)
    for atoms in constant_pressure_walk(FRAMES["hcp"], 8, jumps=False):
        a, b = results_of(used, atoms), results_of(RuSchNet(model_file, "cpu", dtype), atoms)
        for name in ("energy", "energies", "forces", "stress"):
            assert np.array_equal(getattr(a, name), getattr(b, name)), name


def test_a_neighbor_list_that_is_never_rebuilt_is_noticed(calc: RuSchNet) -> None:
    walk = moving(12)
    check_same_as_potential(calc, walk[0])
    calc._neighbors._followed = lambda structures: structures
    with pytest.raises(AssertionError):
        for atoms in walk[1:]:
            check_same_as_potential(calc, atoms)


# Only what is asked for, and each thing once


def test_dynamics_at_constant_volume_takes_one_evaluation_a_step_and_no_stress(calc: RuSchNet) -> None:
    atoms, counted = served(calc), Counted(calc)
    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    dynamics.attach(atoms.get_potential_energy)
    dynamics.run(10)
    assert len(counted.wanted) == 11
    assert all(want == {"energy", "energies", "forces"} for want in counted.wanted)


ENERGY = {"energy", "energies"}
FORCES, STRESS = ENERGY | {"forces"}, ENERGY | {"forces", "stress"}


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        # Energies alone take no derivative.
        ([["energy"]] * 3, [ENERGY] * 3),
        # Forces and stress at each step take one evaluation once that is known.
        ([["forces", "stress", "energy"]] * 6, [FORCES, STRESS, *[STRESS] * 5]),
        # Stress is left out again when nobody asks for it any more.
        ([["forces", "stress"], ["forces"], ["forces"], ["forces"]], [FORCES, STRESS, STRESS, FORCES, FORCES]),
    ],
)
def test_what_is_computed_is_what_is_asked_and_was_asked_before(calc: RuSchNet, asked: list, wanted: list) -> None:
    counted = Counted(calc)
    for atoms, names in zip(moving(len(asked)), asked, strict=True):
        for name in names:
            calc.get_property(name, atoms)
    assert counted.wanted == wanted


def test_nothing_is_computed_twice(calc: RuSchNet) -> None:
    atoms, counted = served(calc), Counted(calc)
    atoms.get_stress(), atoms.get_forces(), atoms.get_potential_energies(), atoms.get_stress()
    atoms.set_initial_magnetic_moments(np.ones(16))
    atoms.get_forces()
    assert len(counted.wanted) == 1
    atoms.positions[0, 0] += 1e-9
    atoms.get_forces()
    assert len(counted.wanted) == 2


def test_relaxing_positions_and_cell_lowers_forces_and_stress(calc: RuSchNet) -> None:
    atoms = served(calc, "two atoms")
    start = atoms.get_potential_energy()
    BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.02, steps=12)
    assert atoms.get_potential_energy() < start


# Copies, files, other people's state


def test_it_pickles_and_deep_copies(calc: RuSchNet) -> None:
    atoms = FRAMES["hcp"]
    expected = results_of(calc, atoms)
    for twin in (pickle.loads(pickle.dumps(calc)), copy.deepcopy(calc)):
        assert twin.parameters == calc.parameters
        assert twin.results.keys() == calc.results.keys()
        assert_same(results_of(twin, rattled(atoms)), results_of(calc, rattled(atoms)))
        assert_same(results_of(twin, atoms), expected)
    assert len(pickle.dumps(calc)) < 20_000
    fresh = pickle.loads(pickle.dumps(RuSchNet(calc.parameters["model"], "cpu", "float64")))
    assert_same(results_of(fresh, atoms), expected)


def test_copies_do_not_share_neighbors_or_results(calc: RuSchNet) -> None:
    check_same_as_potential(calc, FRAMES["hcp"])
    twin = copy.deepcopy(calc)
    check_same_as_potential(twin, FRAMES["dimer"])
    assert twin._neighbors is not calc._neighbors
    assert twin._predictor is not calc._predictor  # which keeps a plan of its neighbours
    assert len(calc.results["energies"]) == 16


@pytest.mark.skipif(kernels.fastest() is None, reason="there is no compiled module")
def test_copies_that_take_turns_plan_their_neighbors_once(calc: RuSchNet) -> None:
    check_same_as_potential(calc, FRAMES["hcp"])
    twin = copy.deepcopy(calc)
    check_same_as_potential(twin, FRAMES["slab"])
    plans = calc.predictor._plan, twin.predictor._plan
    for by_A in (1e-4, 2e-4):
        for one, name in ((calc, "hcp"), (twin, "slab")):
            check_same_as_potential(one, rattled(FRAMES[name], by_A=by_A))
    assert plans[0] is calc.predictor._plan and plans[1] is twin.predictor._plan


def test_its_dictionary_is_short_and_makes_an_equal_calculator(calc: RuSchNet) -> None:
    plain = json.loads(json.dumps(calc.todict()))
    assert plain == {"model": calc.parameters["model"], "device": "cpu", "dtype": "float64"}
    assert RuSchNet(**plain).parameters == calc.parameters
    assert RuSchNet(**calc.todict(skip_default=False)).parameters == calc.parameters


def test_its_results_can_be_written_and_read(calc: RuSchNet, tmp_path: Path) -> None:
    atoms = served(calc)
    atoms.get_stress()
    for name in ("a.traj", "a.extxyz", "a.db"):
        atoms.write(tmp_path / name)
        again = read(tmp_path / name)
        assert again.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        assert np.allclose(again.get_forces(), atoms.get_forces(), atol=1e-6)
    assert read(tmp_path / "a.traj").calc.name == "ru_schnet"


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_global_state_is_left_alone(model_file: str, engine: str, torch_threads: Callable[[], int]) -> None:
    legacy_numpy = np.random.get_state

    def state() -> tuple[object, ...]:
        return (
            torch.get_default_dtype(), torch.get_num_threads(), torch.get_num_interop_threads(),
            torch.is_grad_enabled(), torch.get_rng_state().numpy().tobytes(), legacy_numpy()[1].tobytes(),
            dict(os.environ),
        )  # fmt: skip

    torch.set_num_threads(2)
    before = state()
    results_of(RuSchNet(model_file, "cpu", engine=engine, threads=3), FRAMES["hcp"])
    assert state() == before


def test_the_default_dtype_of_torch_does_not_matter(model_file: str) -> None:
    old, expected = torch.get_default_dtype(), results_of(RuSchNet(model_file, "cpu"), FRAMES["hcp"])
    try:
        torch.set_default_dtype(torch.float64)
        found = results_of(RuSchNet(model_file, "cpu"), FRAMES["hcp"])
    finally:
        torch.set_default_dtype(old)
    assert np.array_equal(found.forces, expected.forces)


def test_changed_parameters_take_effect(calc: RuSchNet, model_file: str) -> None:
    double = results_of(calc, FRAMES["hcp"])
    assert calc.set(dtype="float64") == {}
    assert calc.results
    assert calc.set(dtype="float32") == {"dtype": "float32"}
    assert not calc.results
    single = results_of(calc, FRAMES["hcp"])
    assert not np.array_equal(single.forces, double.forces)
    assert_same(single, double, "float32")


def test_a_relative_path_survives_a_change_of_folder(
    model_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(model_file).parent)
    calc = RuSchNet(Path(model_file).name, "cpu", "float64")
    monkeypatch.chdir(tmp_path)
    check_same_as_potential(calc, FRAMES["dimer"])


def test_construction_reads_no_weights(model_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ru_calc.modelfiles.open.open_model", lambda *_: pytest.fail("the model was read"))
    calc = RuSchNet(model_file)
    calc.todict(), copy.deepcopy(calc), pickle.dumps(calc), repr(calc)


def test_its_representation_is_the_settings_in_use(model_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ru_calc.potentials.derivatives.torch.cuda.is_available", lambda: False)
    assert repr(RuSchNet()) == "RuSchNet(model='default', device='cpu', dtype='float32')"
    changed = RuSchNet(model_file, "cpu", "float64", skin_A=0.5, non_conservative=True)
    assert repr(changed) == (
        f"RuSchNet(model={model_file!r}, device='cpu', dtype='float64', skin_A=0.5, non_conservative=True)"
    )


def test_its_predictor_serves_many_frames_at_once(calc: RuSchNet) -> None:
    found = predict_all(calc.predictor, Structures.from_atoms(list(FRAMES.values())), want=("energy",))
    for energy, atoms in zip(found.energy, FRAMES.values(), strict=True):
        assert energy == pytest.approx(float(results_of(calc, atoms).energy[0]), abs=1e-9)


def test_the_header_tells_where_the_model_comes_from(calc: RuSchNet) -> None:
    assert calc.header["licence"] == "MIT"
    assert calc.cutoff_A == calc.header["cutoff_A"] == 5.0


# What it refuses


@pytest.mark.parametrize("name", WITHOUT_VOLUME)
def test_stress_without_a_volume_is_refused_and_forces_stay(calc: RuSchNet, name: str) -> None:
    atoms = served(calc, name)
    forces = atoms.get_forces()
    with pytest.raises(PropertyNotImplementedError, match="stress needs a volume"):
        atoms.get_stress()
    assert np.array_equal(atoms.get_forces(), forces)
    fresh = served(calc, name)
    fresh.positions += 0.5
    for ask in (fresh.get_stress, fresh.get_stresses):
        with pytest.raises(PropertyNotImplementedError):
            ask()
    assert np.allclose(fresh.get_forces(), forces, atol=1e-10)


def test_asking_for_the_stress_of_bulk_does_not_spoil_a_cluster_after_it(calc: RuSchNet) -> None:
    results_of(calc, FRAMES["hcp"])
    served(calc, "cluster").get_forces()
    assert "stress" not in calc.results


def test_properties_that_do_not_exist_are_refused(calc: RuSchNet) -> None:
    with pytest.raises(PropertyNotImplementedError):
        served(calc).get_magnetic_moment()


def changed(part: str, index: object, value: object) -> Atoms:
    atoms = FRAMES["hcp"].copy()
    getattr(atoms, part)[index] = value
    return atoms


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms(), "no atoms"),
        (changed("symbols", 7, "Pt"), r"atom 7 is Pt; this potential is for ruthenium only: remove other elements"),
        (changed("positions", (5, 1), np.nan), "position of atom 5 is .*nan.* must be finite"),
        (changed("positions", (5, 1), np.inf), "position of atom 5 is .*inf"),
        (changed("positions", (5, 1), 1e200), "position of atom 5 .* move the atoms to the origin"),
        (changed("cell", ..., np.nan), "cell .* must be finite"),
        (changed("cell", ..., 0.0), "lattice vectors .* set a cell"),
        (changed("cell", ..., 1.0), "lattice vectors .* zero or linearly dependent"),
    ],
)
def test_atoms_of_no_use_are_refused_by_name_and_leave_it_usable(calc: RuSchNet, atoms: Atoms, message: str) -> None:
    atoms.calc = calc
    for ask in (atoms.get_forces, atoms.get_potential_energy):
        with pytest.raises(InputError, match=message):
            ask()
    with pytest.raises(InputError, match="no atoms"):
        calc.calculate()
    check_same_as_potential(calc, FRAMES["hcp"])


def test_overlapping_atoms_fail_by_name_and_can_be_mended(calc: RuSchNet) -> None:
    atoms = served(calc)
    atoms.positions[9] = atoms.positions[4]
    for _ in range(2):
        with pytest.raises(InputError, match=r"^atoms 4 and 9 are 0\.000 Å apart, less than 0\.1 Å: remove atoms"):
            atoms.get_forces()
    assert not calc.results
    atoms.positions[:] = FRAMES["hcp"].positions
    check_same_as_potential(calc, atoms)


class Overflowing(Counted):
    """Spoils one quantity of atom 1."""

    def __init__(self, calc: RuSchNet, quantity: str) -> None:
        super().__init__(calc)
        self.quantity = quantity

    def predict(self, structures, pairs, want):
        found = super().predict(structures, pairs, want)
        getattr(found, self.quantity)[1] = np.inf
        return found


@pytest.mark.parametrize(("quantity", "word"), [("energies", "energy"), ("forces", "force")])
@pytest.mark.parametrize(("dtype", "advised"), [("float32", True), ("float64", False)])
def test_float64_is_advised_only_where_it_may_help(
    model_file: str, quantity: str, word: str, dtype: str, advised: bool
) -> None:
    atoms = Atoms("Ru2", [[0, 0, 0], [0.11, 0, 0]])
    atoms.calc = RuSchNet(model_file, "cpu", dtype)
    Overflowing(atoms.calc, quantity)
    with pytest.raises(
        CalculationFailed, match=rf"^the {word} of atom 1 is .*inf.*, and atom 0 is 0.*; move"
    ) as failed:
        atoms.get_forces()
    assert ("use dtype='float64'" in str(failed.value)) == advised


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "nonesuch"}, f"no model 'nonesuch'.*{', '.join(model_names())}"),
        ({"model": "no/such/file.safetensors"}, "no model 'no/such/file.safetensors'"),
        ({"dtype": "float16"}, "dtype is 'float16'; choose one of float32, float64"),
        ({"device": "tpu"}, "device is 'tpu'; choose one of auto, cpu, cuda"),
        ({"device": "cuda:99"}, "device is 'cuda:99', but this machine has [0-9]+ CUDA devices"),
        ({"skin_A": -1.0}, "skin_A is -1.0"),
        ({"skin_A": float("nan")}, "skin_A is nan"),
        ({"skin_A": "wide"}, "skin_A is 'wide'"),
        ({"threads": 0}, "threads is 0; it must be a whole number, 1 or more"),
        ({"threads": 1.5}, "threads is 1.5"),
        ({"engine": "fast"}, "engine is 'fast'; choose one of auto, compiled, reference"),
    ],
)
def test_arguments_of_no_use_are_refused_at_once(model_file: str, arguments: dict, message: str) -> None:
    with pytest.raises(CalculatorSetupError, match=message):
        RuSchNet(**{"model": model_file, **arguments})


def test_unknown_parameters_are_refused(calc: RuSchNet) -> None:
    with pytest.raises(InputError, match="unknown parameter 'cutoff'; choose from model, device"):
        calc.set(cutoff=5.0)
    with pytest.raises(TypeError, match="cutoff"):
        RuSchNet(cutoff=5.0)


@pytest.mark.parametrize("content", [b"not a model", b"", None])
def test_a_damaged_model_file_is_refused_at_the_first_calculation(
    model_file: str, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(Path(model_file).read_bytes()[:-100] if content is None else content)
    with pytest.raises(CalculatorSetupError, match="damaged"):
        served(RuSchNet(path)).get_forces()


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_a_changed_weight_is_refused_at_the_first_calculation(model_file: str, tmp_path: Path, engine: str) -> None:
    shutil.copy(model_file, tmp_path / "m.safetensors")
    rewritten(tmp_path / "m.safetensors", lambda _, weights: weights["energy.0.weight"].mul_(1.01))
    with pytest.raises(CalculatorSetupError, match="golden energies differ"):
        served(RuSchNet(tmp_path / "m.safetensors", "cpu", engine=engine)).get_forces()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"not the derivatives of its energy.*non_conservative=True"),
        ({"engine": "compiled", "non_conservative": True}, "it only evaluates the family schnet"),
    ],
)
def test_a_model_that_is_not_conservative_is_refused_unless_asked_for(
    paper_file: Path, arguments: dict, message: str
) -> None:
    with pytest.raises(CalculatorSetupError, match=message):
        served(RuSchNet(paper_file, "cpu", **arguments)).get_forces()
    atoms = served(RuSchNet(paper_file, "cpu", non_conservative=True))
    assert atoms.get_forces().shape == (16, 3)
    for ask in (atoms.get_stress, atoms.get_stresses):
        with pytest.raises(PropertyNotImplementedError):
            ask()


def test_a_model_that_is_not_conservative_is_served_under_its_name(
    paper_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ru_calc.modelfiles.read.shipped", lambda pattern: sorted(paper_file.parent.glob(pattern)))
    assert np.isfinite(served(RuSchNet("paper", "cpu")).get_forces()).all()


# The public surface


def run(code: str, *, path: Path | None = None) -> str:
    places = [str(ROOT), *([str(path)] if path else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, ru_calc.calculator.ase_plugin; print({'torch', 'h5py'} & {*sys.modules})"
    assert run(code).strip() == "set()"
    assert run("import sys, ru_calc; print('ase' in sys.modules, 'numpy' in sys.modules)").strip() == "False False"


@pytest.mark.skipif(kernels.fastest() is None, reason="there is no compiled module")
def test_a_calculation_on_the_cpu_imports_neither_torch_nor_numba() -> None:
    code = """
import sys
from ase.build import bulk
import ru_calc
from ru_calc import RuCalculator, RuSchNet
atoms = bulk("Ru", "hcp", a=2.7, c=4.28)
atoms.calc = RuSchNet(device="cpu")
atoms.get_forces(), atoms.get_stress(), repr(atoms.calc)
print([m for m in ("torch", "numba", "h5py", "matplotlib") if m in sys.modules])
"""
    assert run(code).strip() == "[]"


def test_public_names_are_there() -> None:
    for name in ("RuCalculator", "RuSchNet", "RuCalcError", "load_model", "model_names", "read_dataset", "__version__"):
        assert name in dir(ru_calc) and getattr(ru_calc, name)


def test_ase_finds_it_under_the_entry_point_of_setup_cfg(tmp_path: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options.entry_points"]["ase.plugins"]
    info = tmp_path / "ru_calc-0.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ru-calc\nVersion: 0.0.0\nSummary: test\n")
    (info / "entry_points.txt").write_text(f"[ase.plugins]\n{lines.strip()}\n")
    code = """
import sys
from ase._4.plugins import plugins
(found,) = {p for p in plugins.calculators if p.name == "ru_schnet"}
print(found.package, "ru_calc.calculator.calculator" in sys.modules, found.implementation.__module__)
"""
    pytest.importorskip("ase._4.plugins", reason="ASE before 3.29 has no plugins for calculators")
    assert run(code, path=tmp_path).split() == ["ru_calc", "False", "ru_calc.calculator.calculator"]


@pytest.mark.parametrize("name", model_names())
def test_every_shipped_model_serves_in_ase(name: str) -> None:
    atoms = served(RuCalculator(name, "cpu"))
    assert np.isfinite(atoms.get_forces()).all() and np.isfinite(atoms.get_stress()).all()
    assert atoms.calc.engine == (
        "compiled" if atoms.calc.header["family"] == "schnet" and kernels.fastest() else "reference"
    )


def test_a_model_of_another_family_is_refused_under_the_name_of_schnet() -> None:
    with pytest.raises(CalculatorSetupError, match=r"ani is of family ani; use RuCalculator\(model='ani'\)"):
        RuSchNet("ani")
