"""Steps that stay on the device: what `predict` gives, without a wait, without a shape that depends on data."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from ase import Atoms
from checks import rattled
from conftest import TOLERANCE
from device_parity import device_engine
from parity import STRUCTURES
from torch.utils._python_dispatch import TorchDispatchMode

from ru_calc.engine.device import DeviceEngine
from ru_calc.engine.device_step import CapturedStep, DeviceStep
from ru_calc.errors import SettingsError
from ru_calc.predictor import WANTED

NAMES = ["angular", "no angles, three blocks, no norm"]
LABELS = ["hcp", "one atom", "slab", "wire", "cluster"]
WAITS = (
    "_local_scalar_dense", "nonzero", "unique", "masked_select", "item", "repeat_interleave", "bincount", "equal",
    "linalg_inv", "linalg_svd", "linalg_solve", "linalg_eigh", "_linalg_det", "is_nonzero",
)  # fmt: skip


class Trace(TorchDispatchMode):
    """Every operation, with the shapes that come out."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []
        self.masks = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        parts = result if isinstance(result, (tuple, list)) else (result,)
        shapes = [tuple(part.shape) for part in parts if isinstance(part, torch.Tensor)]
        self.seen.append((operation._schema.name.removeprefix("aten::"), str(shapes)))
        if "index" in self.seen[-1][0] and len(args) > 1 and isinstance(args[1], (list, tuple)):
            self.masks += any(isinstance(part, torch.Tensor) and part.dtype == torch.bool for part in args[1])
        return result


def tensors(atoms: Atoms) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(atoms.positions.copy()), torch.from_numpy(atoms.cell.array.copy())


def assert_step(step: DeviceStep, made: DeviceEngine, atoms: Atoms) -> None:
    expected = made.predict(atoms)
    near = TOLERANCE["float64"]
    np.testing.assert_allclose(step.energy, expected.energy[0], rtol=0, atol=len(atoms) * near["energy"])
    np.testing.assert_allclose(step.energies, expected.energies, rtol=0, atol=near["energy"])
    np.testing.assert_allclose(step.forces, expected.forces, rtol=0, atol=near["forces"])
    np.testing.assert_allclose(step.stress, expected.stress[0], rtol=0, atol=near["stress"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("label", LABELS)
def test_a_step_gives_what_predict_gives(name: str, label: str) -> None:
    made, start = device_engine(name), STRUCTURES[label]
    made.follow(start)
    for seed in range(3):
        atoms = rattled(start, seed, 0.05)
        if seed:
            atoms.positions[0] += np.where(atoms.pbc, [1, -2, 1], 0) @ atoms.cell.array
        if seed == 2 and atoms.pbc.any():
            atoms.set_cell(atoms.cell.array * [1.01, 0.99, 1.0], scale_atoms=True)
        x, cell = tensors(atoms)
        step = made.step(x, cell if seed == 2 else None, WANTED)
        assert bool(step.valid)
        assert_step(step, made, atoms)


@pytest.mark.parametrize("name", [*NAMES, "angular, no blocks"])
@pytest.mark.parametrize("label", ["hcp", "wire"])
def test_no_step_waits_or_has_shapes_of_its_own(name: str, label: str) -> None:
    made, start = device_engine(name), STRUCTURES[label]
    made.follow(start)
    seen = []
    for seed in (1, 2):
        x, cell = tensors(rattled(start, seed, 0.3))
        for given in (None, cell):
            with Trace() as trace:
                made.step(x, given, WANTED)
            assert trace.masks == 0
            waits = {operation for operation, _ in trace.seen if any(wait in operation for wait in WAITS)}
            assert not waits, f"these wait for the device: {waits}"
            seen.append(trace.seen)
    assert seen[0] == seen[2] and seen[1] == seen[3]


def test_a_wait_would_be_noticed() -> None:
    with Trace() as trace:
        mask = torch.ones(3) > 0
        torch.arange(3)[mask]
        float(torch.ones(()))
    assert trace.masks == 1 and any("_local_scalar_dense" in operation for operation, _ in trace.seen)


@pytest.mark.parametrize("name", NAMES)
def test_dynamics_follow_the_truth_with_few_rebuilds(name: str) -> None:
    made, atoms, random = device_engine(name), STRUCTURES["hcp"].copy(), np.random.default_rng(7)
    made.follow(atoms, skin_A=1.0)
    rebuilds, moves = 0, random.normal(scale=0.04, size=atoms.positions.shape)
    for _ in range(25):
        atoms.positions += moves
        x, _ = tensors(atoms)
        step = made.step(x, None, WANTED)
        if not step.valid:
            rebuilds += 1
            made.rebuild(x)
            step = made.step(x, None, WANTED)
        assert bool(step.valid)
        assert_step(step, made, atoms)
    assert 1 <= rebuilds <= 12


def test_a_list_that_is_too_old_says_so_and_is_wrong() -> None:
    made, atoms = device_engine("angular"), STRUCTURES["cluster"].copy()
    made.follow(atoms, skin_A=0.2)
    atoms.positions[0] += 1.5 * (atoms.positions[1:].mean(axis=0) - atoms.positions[0])
    step = made.step(tensors(atoms)[0], None, WANTED)
    assert not bool(step.valid)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_step(step, made, atoms)


def test_only_what_is_wanted_comes_back() -> None:
    made = device_engine("angular")
    made.follow(STRUCTURES["hcp"])
    step = made.step(tensors(STRUCTURES["hcp"])[0])
    assert step.energies is None and step.stress is None and step.forces is not None and step.energy is not None
    assert step.forces.dtype == step.energy.dtype == torch.float64


def test_refusals() -> None:
    made = device_engine("angular")
    with pytest.raises(SettingsError, match=r"no neighbour list to step with; call follow"):
        made.step(torch.zeros(1, 3))
    with pytest.raises(SettingsError, match="there are 2 frames and 0 atoms; give one frame"):
        made.follow([Atoms(), Atoms()])
    made.follow(STRUCTURES["hcp"])
    with pytest.raises(SettingsError, match="device is cpu; only a CUDA device has graphs"):
        made.capture()


class Replay:
    """In place of a graph: runs the step again, and puts its results where the first ones are."""

    again: Any = None

    def replay(self) -> None:
        run, step = self.again
        for old, new in zip(run._result, step(run._positions, run._cell, WANTED), strict=True):
            old.copy_(new)


def test_a_captured_step_reads_and_writes_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, replacement in (("Stream", MagicMock), ("current_stream", MagicMock), ("CUDAGraph", Replay)):
        monkeypatch.setattr(torch.cuda, name, replacement)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda _: nullcontext())
    made, atoms = device_engine("angular"), STRUCTURES["hcp"]
    made.follow(atoms)
    run = CapturedStep(made.step, made._list, WANTED, moving_cell=True)
    Replay.again = run, made.step
    first = run(tensors(atoms)[0])
    assert_step(first, made, atoms)
    later = rattled(atoms, 3, 0.1)
    later.set_cell(1.01 * later.cell.array, scale_atoms=True)
    assert run(*tensors(later)) is first
    assert_step(first, made, later)
    at_rest = CapturedStep(made.step, made._list, WANTED, moving_cell=False)
    with pytest.raises(SettingsError, match=r"captured with a cell at rest; use capture\(moving_cell=True\)"):
        at_rest(*tensors(later))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kernels", ["torch", "auto"])
def test_on_cuda_a_captured_step_is_the_step(name: str, kernels: str) -> None:
    made, start = device_engine(name, device="cuda", kernels=kernels), STRUCTURES["hcp"]
    made.follow(start)
    run, on_cpu = made.capture(WANTED, moving_cell=True), device_engine(name)
    for seed in range(4):
        atoms = rattled(start, seed, 0.1)
        x, cell = (part.cuda() for part in tensors(atoms))
        if seed == 2 and made.rebuild(x, cell):
            run = made.capture(WANTED, moving_cell=True)
        step = DeviceStep(*(part.cpu() for part in run(x, cell)))
        assert bool(step.valid)
        assert_step(step, on_cpu, atoms)
