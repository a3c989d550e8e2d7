"""`ru-calc check`: what ships passes; where something is broken, the line that looks for it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import rewritten, small_model
from parity import KERNELS, break_arrays, nudge

from ru_calc.checks import Subject, dynamics, run_checks, standard_structures
from ru_calc.checks import lines as line_module
from ru_calc.checks.lines import CHECKS, Skipped
from ru_calc.checks.tolerance import Figure, worst
from ru_calc.engine.engine import Engine, TableEngine
from ru_calc.errors import DataError
from ru_calc.modelfiles import open_model
from ru_calc.modelfiles.load import save_model
from ru_calc.predictor import Prediction
from ru_calc.structures import Structures, neighbors
from ru_calc.structures.build import build_structure

pytestmark = pytest.mark.skipif(not KERNELS, reason="there is no compiled module")
FRAMES = standard_structures()
FEW = {name: FRAMES[name] for name in ("small cell", "slab", "cluster")}
Patch = pytest.MonkeyPatch
Change = Callable[[TableEngine, Structures, Prediction], Prediction]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_model(path, small_model(spline_intervals=64), {"licence": "MIT"})
    for dtype in ("float32", "float64"):
        open_model(path, dtype)  # its golden energies are checked once, before anything is broken
    return path


@pytest.fixture
def short_runs(monkeypatch: Patch) -> None:
    monkeypatch.setattr(dynamics.verlet, "__defaults__", (2.0, 40))
    monkeypatch.setattr(line_module, "DRIFT_ATOMS", 8)


# What is right


def test_every_line_passes_for_a_model_of_random_weights(stored: Path, short_runs: None) -> None:
    # Without its weights being fitted, only the core is not sure to push atoms apart.
    lines = list(run_checks(Subject(str(stored), FEW)))
    assert [line.name for line in lines] == list(CHECKS)
    assert {line.name for line in lines if line.verdict != "passed"} <= {"repulsive core"}
    assert all(line.claim.endswith(".") for line in lines)


@pytest.mark.parametrize("model", ["default", "fast", "plain", "omat", "ani", "gnn", "kan", "calhousnet"])
def test_every_line_passes_for_what_ships_or_says_why_it_does_not_apply(model: str, short_runs: None) -> None:
    lines = list(run_checks(Subject(model, {"small cell": FRAMES["small cell"]})))
    assert [line.name for line in lines if line.failed] == []
    skipped = {line.name: line.remark for line in lines if line.verdict == "skipped"}
    if model in ("ani", "gnn", "kan", "calhousnet"):
        assert skipped == {"engine against reference": f"it only evaluates the family schnet, and {model} is of family "
                                                       f"{model}"}  # fmt: skip
    else:
        assert skipped == {}


def test_in_float32_its_bounds_apply() -> None:
    lines = {line.name: line for line in run_checks(Subject("fast", FEW, dtype="float32", threads=2))}
    assert [name for name, line in lines.items() if line.failed] == []
    assert lines["permutation"].figure.bound > 1e-6 and lines["threads"].figure.where == "128 atoms, 2 threads"


def test_what_is_no_slope_of_an_energy_is_not_held_to_be_one(paper_file: Path) -> None:
    lines = {line.name: line for line in run_checks(Subject(str(paper_file), {"cluster": FRAMES["cluster"]}))}
    reason = "its forces are an output of the network, not slopes of the energy"
    for name in ("forces by finite differences", "rotation", "smooth at the cutoff", "NVE drift", "smooth core"):
        assert (lines[name].verdict, lines[name].remark) == ("skipped", reason)
    assert lines["permutation"].verdict == lines["batch against single"].verdict == "passed"
    assert lines["wrapped and unwrapped"].remark == "nothing is periodic"


def test_too_many_atoms_are_refused_with_the_way_out(stored: Path) -> None:
    frames = {"big.xyz": build_structure("hcp", n_atoms=2100)}
    with pytest.raises(DataError, match=r"big.xyz has 2\d\d\d atoms, and the lines take up to 2000 .*a part of it"):
        list(run_checks(Subject(str(stored), frames)))


# What is broken


def spoil(monkeypatch: Patch, change: Change) -> None:
    """Changes what the engine gives."""
    right = TableEngine.predict

    def predict(self, structures, pairs=None, want=("energy", "energies", "forces", "stress")):
        given = structures if isinstance(structures, Structures) else Structures.from_atoms(structures)
        return change(self, given, right(self, given, pairs, want))

    monkeypatch.setattr(Engine, "predict", predict)


def with_forces(scale: float = 1.0, add_eV_per_A: object = 0.0, only: Callable = lambda engine, s: True) -> Callable:
    def change(engine: TableEngine, given: Structures, found: Prediction) -> Prediction:
        if found.forces is None or not only(engine, given):
            return found
        return replace(found, forces=scale * found.forces + np.array(add_eV_per_A))

    return lambda patch: spoil(patch, change)


def with_energies(extra_eV: Callable[[Structures], np.ndarray]) -> Callable:
    """Adds energies (n,) to atoms."""

    def change(engine: TableEngine, given: Structures, found: Prediction) -> Prediction:
        extra = np.broadcast_to(extra_eV(given), given.n_atoms)
        energy = None if found.energy is None else found.energy + np.bincount(given.frame_of_atom, extra, len(given))
        energies = None if found.energies is None else found.energies + extra
        return replace(found, energy=energy, energies=energies)

    return lambda patch: spoil(patch, change)


def other_sign_of_stress(patch: Patch) -> None:
    spoil(patch, lambda _, s, found: found if found.stress is None else replace(found, stress=-found.stress))


def rough_at_the_cutoff(patch: Patch) -> None:
    """Adds pair energies ∝ (1 − r/r_c)², whose curvature jumps at the cutoff, with their forces."""

    def change(engine: TableEngine, given: Structures, found: Prediction) -> Prediction:
        if found.energy is None:
            return found
        pairs = neighbors.find_pairs(given, engine.cutoff_A)
        vectors = pairs.vectors(given)
        r = np.linalg.norm(vectors, axis=1)
        pull = (-2e-3 * (1 - r / engine.cutoff_A) / engine.cutoff_A / r)[:, None] * vectors
        forces = np.zeros((given.n_atoms, 3)) if found.forces is None else found.forces.copy()
        np.add.at(forces, pairs.first, pull)
        np.subtract.at(forces, pairs.second, pull)
        energy = found.energy + np.bincount(pairs.frames, 1e-3 * (1 - r / engine.cutoff_A) ** 2, len(given))
        return replace(found, energy=energy, forces=forces)

    spoil(patch, change)


def a_lost_pair(patch: Patch) -> None:
    right = neighbors.pairs_of_frame
    patch.setattr(neighbors, "pairs_of_frame", lambda *given: tuple(part[1:] for part in right(*given)))


def a_stale_list(patch: Patch) -> None:
    """Made once for each number of atoms."""
    right = neighbors.VerletList._followed

    def followed(self, structures):
        same = self._built is not None and self._built.n_atoms == structures.n_atoms
        return structures if same else right(self, structures)

    patch.setattr(neighbors.VerletList, "_followed", followed)


def atoms_not_followed(patch: Patch) -> None:
    """Those that were wrapped keep the shifts of their pairs."""
    right = neighbors.VerletList._unwrapped
    patch.setattr(
        neighbors.VerletList, "_unwrapped",
        lambda self, structures, *rest: structures if right(self, structures, *rest) else None,
    )  # fmt: skip


def one_table_entry(patch: Patch) -> None:
    break_arrays(patch, "filter_0", nudge)


def steps_in_energy(patch: Patch) -> None:
    spoil(patch, lambda _, s, found: replace(found, energy=None if found.energy is None else np.round(found.energy, 2)))


SABOTAGE: dict[str, Callable] = {
    "model file": with_energies(lambda s: np.array(4e-6 * (s.n_atoms > 1))),
    "forces by finite differences": with_forces(scale=1.0001),
    "stress by finite differences": other_sign_of_stress,
    "supercell": with_energies(lambda s: np.array(1e-7 * s.n_atoms)),
    "rotation": with_forces(add_eV_per_A=[1e-6, 0, 0]),
    "permutation": with_energies(lambda s: 1e-7 * np.arange(s.n_atoms)),
    "translation": with_energies(lambda s: 1e-7 * s.positions[:, 0]),
    "wrapped and unwrapped": atoms_not_followed,
    "far from the origin": with_energies(lambda s: 1e-13 * s.positions[:, 0]),
    "smooth at the cutoff": rough_at_the_cutoff,
    "neighbors against all images": a_lost_pair,
    "engine against reference": one_table_entry,
    "float32 against float64": with_forces(add_eV_per_A=1e-4, only=lambda engine, s: engine.dtype == "float32"),
    "skin against a fresh list": a_stale_list,
    "batch against single": with_forces(add_eV_per_A=1e-7, only=lambda engine, s: len(s) > 1),
    "threads": with_forces(add_eV_per_A=1e-7, only=lambda engine, s: engine.threads > 1),
    "NVE drift": with_forces(add_eV_per_A=[1e-2, 0, 0]),
    "repulsive core": with_forces(scale=-1.0),
    "smooth core": steps_in_energy,
}


def test_each_line_has_its_sabotage() -> None:
    assert SABOTAGE.keys() == CHECKS.keys()


@pytest.mark.parametrize("name", CHECKS)
def test_what_a_line_looks_for_is_broken_and_the_line_fails(
    name: str, stored: Path, short_runs: None, monkeypatch: Patch
) -> None:
    if name != "repulsive core":
        assert CHECKS[name](Subject(str(stored), FEW)).passed
    SABOTAGE[name](monkeypatch)
    found = CHECKS[name](Subject(str(stored), FEW))
    assert not found.passed, f"{found.value:.2g} is within {found.bound:.2g} {found.unit}"


def weight(header: dict, weights: dict) -> None:
    next(value for name, value in weights.items() if name.endswith("energy.0.weight"))[0, 0] += 1e-2


def core(header: dict, weights: dict) -> None:
    header["hyperparameters"]["core_outer_A"] = 1.7


@pytest.mark.parametrize("change", [weight, core])
@pytest.mark.parametrize(("seal", "reason"), [(False, "do not have the hash"), (True, "golden")])
def test_a_changed_file_fails_its_line_and_nothing_else_is_tried(
    stored: Path, tmp_path: Path, change: Callable, seal: bool, reason: str
) -> None:
    path = tmp_path / "changed.safetensors"
    path.write_bytes(stored.read_bytes())
    (line,) = run_checks(Subject(str(rewritten(path, change, seal)), FEW))
    assert line.failed and line.name == "model file" and reason in line.remark


# Figures


def test_a_figure_that_is_not_a_number_fails_and_is_the_worst() -> None:
    good, bad = Figure(1.0, 2.0, "eV"), Figure(float("nan"), 2.0, "eV")
    assert good.passed and not bad.passed
    assert worst([good, bad, Figure(3.0, 2.0, "eV")]) is bad
    assert Figure(3.0, 2.0, "eV", at_least=True).passed and not Figure(-1.0, 0.0, "eV", at_least=True).passed


def test_a_line_that_cannot_be_measured_fails_with_the_reason(stored: Path, monkeypatch: Patch) -> None:
    monkeypatch.setitem(CHECKS, "rotation", lambda subject: 1 / 0)
    lines = {line.name: line for line in run_checks(Subject(str(stored), {"small cell": FRAMES["small cell"]}))}
    assert lines["rotation"].failed and lines["rotation"].remark == "ZeroDivisionError: division by zero"
    assert lines["permutation"].verdict == "passed"
    with pytest.raises(Skipped):
        CHECKS["stress by finite differences"](Subject(str(stored), {"cluster": FRAMES["cluster"]}))
