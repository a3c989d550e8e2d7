"""Each Triton kernel does what its plain torch form does: in Triton's interpreter, or on the GPU where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from checks import small_potential
from torch import Tensor

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, which nothing else has done by now
pytest.importorskip("triton", reason="triton is not installed")

from ru_calc.engine import torch_kernels, triton_kernels  # noqa: E402
from ru_calc.engine.device import DeviceEngine  # noqa: E402
from ru_calc.engine.device_model import DeviceModel  # noqa: E402
from ru_calc.engine.device_neighbors import HalfPairs, rows_of  # noqa: E402
from ru_calc.engine.device_pairs import CoreTerms, Geometry, Rows  # noqa: E402
from ru_calc.structures import Structures  # noqa: E402
from ru_calc.structures.neighbors import find_pairs  # noqa: E402
from ru_calc.tables.packing import Packing  # noqa: E402

BOTH = (torch_kernels, triton_kernels)
WIDTHS = dict(channels=20, angular_radial=5, l_max=3, triple=2, cutoff_A=3.3, switch_A=0.9)
PLAIN = dict(WIDTHS, angular=False, layer_norm=False)
# Sums of some twenty terms of size 1 to 100.
NEAR = {torch.float64: dict(rtol=1e-12, atol=1e-12), torch.float32: dict(rtol=2e-5, atol=2e-5)}


class Setting(NamedTuple):
    """A model, and atoms of all kinds before it: within the core, in a cell of one atom, alone."""

    model: DeviceModel
    rows: Rows
    x: Tensor
    translations: Tensor

    def geometry(self, by: ModuleType = torch_kernels) -> tuple[Geometry, CoreTerms]:
        near = Geometry(self.rows, self.model.dtype, True)
        return near, by.find_geometry(self.model.grid, self.model.core, self.rows, self.x, self.translations, near)

    def random(self, *shape: int) -> Tensor:
        made = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)
        return made.to(self.model.device, self.model.dtype)

    @property
    def features(self) -> Tensor:
        return self.random(len(self.x), self.model.channels)


@pytest.fixture(autouse=True)
def short_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows take several rounds."""
    for name in ("geometry", "forces", "gather"):
        monkeypatch.setitem(triton_kernels.TILES, name, (8, 1))
    monkeypatch.setattr(triton_kernels, "WIDEST", 16)


def structures() -> Structures:
    cluster = Atoms("Ru4", [[0, 0, 0], [1.3, 0.4, 0], [0.2, 2.1, 1.0], [40, 0, 0]])
    return Structures.from_atoms([cluster, bulk("Ru", "fcc", a=3.8)])


def setting(dtype: torch.dtype, **changes: Any) -> Setting:
    potential = small_potential(**changes)
    weights = {name: value.numpy() for name, value in potential.state_dict().items()}
    model = DeviceModel(Packing(potential.hyperparameters(), weights).arrays(32), dtype, DEVICE)
    atoms = structures()
    pairs = find_pairs(atoms, model.grid.cutoff + 0.6)
    first, second, shifts, frames = (
        torch.from_numpy(part).long().to(DEVICE) for part in (pairs.first, pairs.second, pairs.shifts, pairs.frames)
    )
    rows = rows_of(HalfPairs(first, second, shifts), frames, atoms.n_atoms)
    cells, x = (torch.from_numpy(part).to(DEVICE) for part in (atoms.cells, atoms.positions))
    return Setting(model, rows, x, rows.translations(cells))


@pytest.fixture(scope="module", params=[torch.float64, torch.float32], ids=["float64", "float32"])
def angular(request: pytest.FixtureRequest) -> Setting:
    return setting(request.param, **WIDTHS)


def assert_close(found: Any, expected: Any, dtype: torch.dtype) -> None:
    torch.testing.assert_close(found, expected, **NEAR[dtype])


def in_rows(near: Geometry, values: Tensor) -> Tensor:
    """What is at the front of each row, row after row."""
    parts = zip(near.begin.tolist(), near.count.tolist(), strict=True)
    return torch.cat([values[..., begin : begin + count] for begin, count in parts], dim=-1)


def test_geometry_and_core(angular: Setting) -> None:
    (near, core), (expected, expected_core) = (angular.geometry(by) for by in (triton_kernels, torch_kernels))
    assert near.count.tolist() == expected.count.tolist()
    assert near.count.tolist()[3:] == [0, 12] and angular.rows.length.tolist()[3:] == [0, 18]
    for name in ("atom", "interval", "slot"):
        assert torch.equal(in_rows(near, getattr(near, name)), in_rows(near, getattr(expected, name)))
    for name in ("place", "direction"):
        one, other = (in_rows(near, getattr(part, name)) for part in (near, expected))
        assert_close(one, other, angular.model.dtype)
    assert core.energies.abs().max() > 1.0 and core.energies[3] == 0.0
    assert_close(core, expected_core, torch.float64)


def test_gather(angular: Setting) -> None:
    near, table, grid = angular.geometry()[0], angular.model.filters[0], angular.model.grid
    for h in (angular.features, None):
        found, expected = (by.gather(grid, table, near, h) for by in BOTH)
        assert expected.abs().max() > 0.1
        assert_close(found, expected, angular.model.dtype)


@pytest.mark.parametrize("add", [False, True])
def test_reverse_of_gather(angular: Setting, add: bool) -> None:
    near, table, grid = angular.geometry()[0], angular.model.filters[1], angular.model.grid
    h, m_bar, before = angular.features, -angular.features.flip(0), angular.random(len(near.slope))
    results = []
    for by in BOTH:
        near.slope = before.clone()
        results.append([by.gather_reverse(grid, table, near, h, m_bar, add), near.slope[in_rows(near, near.slot)]])
        near.slope = before.clone()
        by.alike_reverse(grid, table, near, m_bar, add)
        results[-1].append(near.slope[in_rows(near, near.slot)])
    assert_close(results[1], results[0], angular.model.dtype)


def test_density(angular: Setting) -> None:
    near, part = angular.geometry()[0], angular.model.angular
    found, expected = (by.density(angular.model.grid, part, near) for by in BOTH)
    assert_close(found, expected, angular.model.dtype)


def test_reverse_of_density(angular: Setting) -> None:
    near, part = angular.geometry()[0], angular.model.angular
    near.slope, a_bar = angular.random(len(near.slope)), angular.random(len(angular.x), part.harmonics, part.radial)
    results = []
    for by in BOTH:
        near.pull = torch.zeros_like(near.pull)
        by.density_reverse(angular.model.grid, part, near, a_bar)
        results.append(near.pull[in_rows(near, near.slot)])
    assert_close(results[1], results[0], angular.model.dtype)


def test_invariants_and_their_reverse(angular: Setting) -> None:
    part, atoms = angular.model.angular, len(angular.x)
    a = angular.random(atoms, part.harmonics, part.radial)
    mixed = a @ part.mix.T
    results = []
    for by in BOTH:
        f, sums = by.invariants(part, a, mixed)
        results.append([f, *by.invariants_reverse(part, a, mixed, sums, angular.random(*f.shape))])
    assert_close(results[1], results[0], angular.model.dtype)


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_activations(dtype: torch.dtype, layer_norm: bool) -> None:
    there = setting(dtype, **dict(WIDTHS, layer_norm=layer_norm))
    source, model, a = there.model.sources[1], there.model, there.features
    assert (source.scale is not None) == layer_norm
    a[:, model.width :] = 0.0
    results = []
    for by in BOTH:
        results.append([by.activate(source, a, model.width, model.norm_eps)])
        results[-1].append(by.activate_reverse(source, a, a.flip(0), model.width, model.norm_eps))
    assert_close(results[1], results[0], dtype)


@pytest.mark.parametrize("pull", [True, False])
def test_forces(angular: Setting, pull: bool) -> None:
    near = angular.geometry()[0]
    near.slope = angular.random(len(near.slope))
    near.pull = angular.random(*near.pull.shape) if pull else None
    for virial in (True, False):
        found, expected = (by.forces(angular.model.grid, angular.rows, near, virial) for by in BOTH)
        assert (found[1] is not None) == virial
        assert_close(found, expected, torch.float64)


def test_one_entry_of_a_table_is_noticed(angular: Setting) -> None:
    near, grid = angular.geometry()[0], angular.model.grid
    table = angular.model.filters[0].clone()
    table[in_rows(near, near.interval)[0] + 3, 1] += 1e-3
    found = triton_kernels.gather(grid, table, near, None)
    expected = torch_kernels.gather(grid, angular.model.filters[0], near, None)
    with pytest.raises(AssertionError, match="not close"):
        assert_close(found, expected, angular.model.dtype)


@pytest.mark.parametrize("changes", [WIDTHS, PLAIN], ids=["angular", "no angles"])
def test_the_engine_on_its_kernels(changes: dict[str, Any]) -> None:
    potential = small_potential(**changes)
    weights = {name: value.numpy() for name, value in potential.state_dict().items()}
    by_torch, by_triton = (
        DeviceEngine(potential.hyperparameters(), weights, "float64", str(DEVICE), 32, kernels).predict(structures())
        for kernels in ("torch", "triton")
    )
    for name in ("energies", "forces", "stress"):
        found, expected = getattr(by_triton, name), getattr(by_torch, name)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12, err_msg=name)


def test_every_kernel_compiles_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    here = Path(__file__).parent
    paths = [str(here.parent), environment.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(here / "ahead_of_time.py")], capture_output=True, text=True, check=False,
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        "_activation", "_invariants", "_invariants_reverse", "density_kernel", "density_reverse_kernel",
        "find_geometry_kernel", "forces_kernel", "gather_kernel", "reverse_kernel",
    ]  # fmt: skip
