"""What the calculator refuses or warns of, with every engine, and that threads may share it."""

from __future__ import annotations

import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import InputError
from checks import frames, rattled, small_potential

from ru_calc import RuSchNet
from ru_calc.modelfiles.load import save_model

ENGINES = ["compiled", "reference"]
LATTICE = np.diag([5.0, 6.0, 7.0])


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("models") / "small.safetensors"
    save_model(path, small_potential(), {"licence": "MIT"})
    return str(path)


@pytest.fixture(params=ENGINES)
def calc(request: pytest.FixtureRequest, model_file: str) -> RuSchNet:
    return RuSchNet(model_file, device="cpu", dtype="float64", engine=request.param)


def usable(calc: RuSchNet) -> bool:
    """Whether it gives the energy that a new one gives."""
    atoms = frames()["hcp"]
    new = RuSchNet(calc.parameters["model"], "cpu", "float64", engine=calc.engine)
    return abs(calc.get_potential_energy(atoms) - new.get_potential_energy(atoms)) < 1e-9


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("Ru", cell=[1e-3] * 3, pbc=True), r"per Å³ \(limit 10"),
        (Atoms("Ru", cell=[0.02, 0.02, 0.02], pbc=True), r"per Å³ \(limit 10"),
        (Atoms("Ru", cell=[200, 200, 1e-3], pbc=True), r"^atom 0 and its own image are 0\.001 Å apart, less than 0\.1"),
        (Atoms("Ru3", [[0, 0, 0], [2.5, 0, 0], [2.5, 0.05, 0.05]]), r"^atoms 1 and 2 are 0\.071 Å apart, less than"),
        (Atoms("Ru2", [[0.02, 1, 1], [4.99, 1, 1]], cell=LATTICE, pbc=True), r"^atoms 0 and 1 are 0\.030 Å apart"),
        (Atoms("Ru4000", np.random.default_rng(0).uniform(0, 2, (4000, 3))), r"about .* pairs within"),
        (Atoms("Ru", cell=np.diag([1e300, 5, 5]), pbc=True), r"lattice vector 0 .* longer than 1e\+08 Å"),
        (Atoms("Ru", cell=np.diag([5, 1e20, 5]), pbc=[True, False, True]), "lattice vector 1"),
    ],
)
def test_atoms_of_no_use_are_refused_by_name_again_and_again(calc: RuSchNet, atoms: Atoms, message: str) -> None:
    for ask in (calc.get_potential_energy, calc.get_forces, calc.get_forces):
        with pytest.raises(InputError, match=message):
            ask(atoms.copy())
    assert usable(calc)


def test_atoms_that_come_too_close_between_two_lists_are_named(calc: RuSchNet) -> None:
    atoms = Atoms("Ru3", [[0, 0, 0], [0.55, 0, 0], [3.0, 0, 0]])
    atoms.calc = calc
    atoms.get_forces()
    atoms.positions[1, 0] = 0.12
    atoms.get_forces()
    atoms.positions[1, 0] = 0.09
    with pytest.raises(InputError, match=r"^atoms 0 and 1 are 0\.090 Å apart"):
        atoms.get_forces()
    assert calc.neighbor_statistics.rebuilds == 0


def test_an_unphysical_energy_is_warned_of_once(model_file: str) -> None:
    calc, dimer = RuSchNet("default", "cpu"), Atoms("Ru2", [[0, 0, 0], [0.5, 0, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for atoms in (*frames().values(), bulk("Ru", "hcp", a=2.3, c=3.6)):
            calc.get_potential_energy(atoms)
    with pytest.warns(
        UserWarning, match=r"energy is .* eV per atom, .* -9\.9\d* is 0\.5 eV below the crystal, .* lone atom"
    ):
        calc.get_potential_energy(dimer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc.get_potential_energy(Atoms("Ru2", [[0, 0, 0], [0.45, 0, 0]]))


def test_threads_that_share_a_calculator_get_what_is_theirs(calc: RuSchNet) -> None:
    structures = [rattled(atoms, seed=k) for k, atoms in enumerate(frames().values()) if len(atoms) < 8]
    right = [RuSchNet(calc.parameters["model"], "cpu", "float64").get_potential_energy(atoms) for atoms in structures]

    def ask(k: int) -> tuple[float, int]:
        return calc.get_potential_energy(structures[k].copy()), len(calc.get_forces(structures[k].copy()))

    jobs = list(range(len(structures))) * 5
    with ThreadPoolExecutor(4) as pool:
        for k, (energy, atoms) in zip(jobs, pool.map(ask, jobs), strict=True):
            assert energy == pytest.approx(right[k], abs=1e-8) and atoms == len(structures[k])


def test_without_turns_the_check_of_threads_would_fail(model_file: str) -> None:
    class Open:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    calc = RuSchNet(model_file, "cpu", "float64", engine="reference")
    assert calc.cutoff_A > 0
    calc._lock = Open()  # type: ignore[assignment]
    with pytest.raises((AssertionError, ValueError, IndexError, RuntimeError, KeyError, AttributeError)):
        for _ in range(20):
            test_threads_that_share_a_calculator_get_what_is_theirs(calc)


def test_copies_take_turns_of_their_own(calc: RuSchNet) -> None:
    assert usable(calc)
    for twin in (copy.deepcopy(calc), pickle.loads(pickle.dumps(calc))):
        with calc._lock, ThreadPoolExecutor(1) as pool:
            assert pool.submit(usable, twin).result(timeout=60)
