"""`DeviceEngine`: the engine on one CUDA device, or on the CPU in plain torch.

Tables, folded matrices and passes are those of `Engine`; device_passes.py has their order.  Each pass over pairs exists
twice: in plain torch (torch_kernels.py, torch_layers.py), correct everywhere, and as a Triton kernel (triton_*.py).
A directed list lets an atom sum over its own row only: no atomics, and the same sums in the same order each time.  What
an atom does to its neighbour is left at the pair and fetched from the pair's mirror image by the last pass.

**This has never run on a GPU.**  The torch forms ran on a CPU, the kernels in Triton's interpreter, and Triton's
compiler and assembler made machine code for an H100 of all of them.  The rest of this text is arithmetic: bytes from
and to memory (gathers from caches are free), float32 operations, and thousands of warp instructions, counted in the
disassembled loops (for what cuBLAS and torch do they are not known), for one atom and step with forces, 42 neighbours
and 62 within the skin; and ns on an H100 if the slowest of 3.35 TB/s, 67 Tflop/s (no tensor cores) and 927 G warp
instructions per second (132 × 4 × 1.755 GHz) were reached:

                                     default                        plain
                             kflop    kB  k instr   ns      kflop    kB  k instr   ns
    geometry, core               2   1.8      1.5  1.6          2   1.8      1.5  1.6
    density                     51   2.4      2.8  3.0
    mixings (3 products)       115  19.2        –  5.7
    invariants (2 ×), asinh     33  21.8      0.7  6.5
    reverse invariants          40  18.9      0.8  5.6
    gather, alike                                              70   0.8      4.6  5.0
    gather                      75   1.5      5.0  5.4        151   3.1      9.9 10.7
    reverse gather, alike                                      75   1.4      6.8  7.4
    reverse gather             161   2.4      9.1  9.8        323   4.8     18.1 19.6
    reverse density            105   3.4      5.3  5.7
    dense, activations, head   360  24.1        –  7.2        426  31.7        –  9.5
    forces                       0   1.9      0.5  0.6          0   1.2      0.2  0.4
    together                   943    97       26   51       1047    45       41   54

Flops alone would take 14 and 16 ns, memory alone 29 and 13, instructions alone 28 and 44.  The gathers are bound by
instructions (each lane of a warp evaluates the splines of its pair anew) and as much by the first-level cache: six rows
of the table and one of h, 3.6 kB per pair, are 0.7 µs of a multiprocessor per atom.  The rest is bound by memory.
Hence at best 50 to 55 ns, 20 million atom steps per second; kernels that were never tuned may well take twice as long.
A step is some 80 kernels (120 where the cell moves), so even as one graph it takes 0.1 to 0.2 ms however few atoms
there are: the device is full from some thousand atoms on.
"""

from __future__ import annotations

import importlib.util
import os
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from threading import Lock
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from ru_calc.engine.device_model import DeviceModel
from ru_calc.engine.device_neighbors import HalfPairs, find_half_pairs, rows_of
from ru_calc.engine.device_pairs import Geometry, Rows
from ru_calc.engine.device_passes import Passes, Totals
from ru_calc.engine.device_step import CapturedStep, DeviceStep
from ru_calc.engine.device_verlet import DeviceVerletList
from ru_calc.engine.engine import BOUNDS
from ru_calc.errors import SettingsError
from ru_calc.predictor import WANTED, Prediction
from ru_calc.structures import FLATTEST_A3, Structures, as_structures
from ru_calc.structures.neighbors import NeighborPairs
from ru_calc.tables.packing import Packing

KERNELS = ("auto", "triton", "torch")


class _Plan(NamedTuple):
    """Rows of one list, which `pairs` gives while it exists, and memory for them."""

    pairs: Callable[[], NeighborPairs | None]
    rows: Rows
    near: Geometry


def _nobody() -> None:
    return None


class DeviceEngine:
    """Predictions from the same tables as `Engine`, by torch and Triton on a device.

    `predict` serves one-off structures and the calculator.  For dynamics that stays on the device, `follow` a frame,
    then `step`, or `capture` the step once and replay it.

    Args:
        settings: hyper-parameters of a SchNet.
        weights: its arrays by name.
        dtype: of the network, `float32` or `float64`; positions, differences, energies and sums of forces are float64.
        device: `cuda`, `cuda:N` or `cpu`.
        intervals: of the tables; None refines them until they are as good as `dtype` can use.  A network that was
            trained with tables keeps its own.
        kernels: `triton`, `torch`, or `auto`: Triton on CUDA where it is installed.

    Raises:
        SettingsError: a dtype or kernels that do not exist, or Triton where it cannot run.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        weights: Mapping[str, np.ndarray],
        dtype: str = "float32",
        device: str = "cuda",
        intervals: int | None = None,
        kernels: str = "auto",
    ) -> None:
        if dtype not in BOUNDS:
            raise SettingsError(f"dtype is {dtype!r}; choose one of {', '.join(BOUNDS)}")
        self.dtype, self.device = dtype, torch.device(device)
        self.kernels = chosen_kernels(kernels, self.device.type)
        packing = Packing(settings, weights)
        self.intervals = packing.choose_intervals(intervals, BOUNDS[dtype])
        self._model = DeviceModel(packing.arrays(self.intervals), getattr(torch, dtype), self.device)
        self._passes = Passes(self._model, _operators(self.kernels))
        self._plan: _Plan | None = None
        self._busy = Lock()
        self._list: DeviceVerletList | None = None
        self._zero = 0.0
        alone = self.predict(Structures.from_atoms(Atoms("Ru")), None, ("energies",))
        self._zero = float(settings["atom_energy_eV"]) - float(alone.energies[0])

    @property
    def cutoff_A(self) -> float:
        """Interaction range in Å."""
        return self._model.grid.cutoff

    def predict(
        self,
        structures: Structures | Sequence[Atoms],
        pairs: NeighborPairs | None = None,
        want: Collection[str] = WANTED,
    ) -> Prediction:
        """See `Predictor.predict`; pairs are sent to the device once while the same object comes back, and found there
        where they are None.
        """
        structures = as_structures(structures)
        if structures.n_atoms == 0:
            return _nothing(structures, want)
        with self._busy, self._here():
            plan = self._planned(structures, pairs)
            cells, x = self._send(structures.cells), self._send(structures.positions)
            totals = self._run(plan.rows, plan.near, x, plan.rows.translations(cells), want)
            return _prediction(totals, structures, want)

    def follow(self, structures: Structures | Atoms, skin_A: float = 1.0) -> None:
        """Makes the neighbour list of one frame, which `step` uses from here on.

        Args:
            structures: one frame.
            skin_A: range of the list beyond the cutoff.
        """
        structures = as_structures(structures)
        if len(structures) != 1 or structures.n_atoms == 0:
            raise SettingsError(f"there are {len(structures)} frames and {structures.n_atoms} atoms; give one frame")
        self._list = DeviceVerletList(self.cutoff_A, skin_A, structures.pbc[0])
        self.rebuild(self._send(structures.positions), self._send(structures.cells[0]))

    def rebuild(self, positions: Tensor, cell: Tensor | None = None) -> bool:
        """Makes the list anew around `positions` (n, 3) and `cell` (3, 3), None for the one before; waits.

        Returns:
            Whether memory had to move, so that a captured step must be captured again.
        """
        followed = self._followed()
        with self._here():
            moved = followed.build(positions, followed.cell if cell is None else cell)
            if moved:
                assert followed.rows is not None
                self._near = Geometry(followed.rows, self._model.dtype, self._model.angular is not None)
        return moved

    def step(
        self, positions: Tensor, cell: Tensor | None = None, want: Collection[str] = ("energy", "forces")
    ) -> DeviceStep:
        """Results at `positions`, with the list as it is: never waits for the device, and no shape depends on data.

        Args:
            positions: (n, 3) Å, float64, on the device; atoms may have been wrapped since the rebuild.
            cell: (3, 3); None where it is still that of the rebuild, which is faster.
        """
        followed = self._followed()
        assert followed.rows is not None
        with self._here():
            x, valid = followed.follow(positions, cell)
            cell = followed.cell if cell is None else cell
            totals = self._run(followed.rows, self._near, x, followed.rows.translations(cell[None]), want)
            return DeviceStep(
                valid,
                totals.energies.sum() if "energy" in want else None,
                totals.energies if "energies" in want else None,
                totals.forces if "forces" in want else None,
                None if totals.virial is None else totals.virial.sum(dim=0) / _volume(cell),
            )

    def capture(self, want: Collection[str] = ("energy", "forces"), moving_cell: bool = False) -> CapturedStep:
        """The step as one CUDA graph: some eighty kernels for the price of one launch.

        All shapes are fixed by the list's memory, every temporary comes from the graph's own pool, and nothing is read
        back, so what `torch.cuda.CUDAGraph` records here stays true for all positions, also after `rebuild` as long as
        that returns False: the list is rewritten in place.  Where it returns True, capture again.  The usual loop:

            run = engine.capture()
            result = run(positions)
            if not result.valid:          # reads one byte; every few steps is enough, if one can go back
                moved = engine.rebuild(positions)
                run = engine.capture() if moved else run
                result = run(positions)

        Args:
            moving_cell: whether the cell changes from step to step.

        Raises:
            SettingsError: the device is not CUDA.
        """
        if self.device.type != "cuda":
            raise SettingsError(f"device is {self.device}; only a CUDA device has graphs: use step()")
        followed = self._followed()
        with self._here():
            return CapturedStep(self.step, followed, want, moving_cell)

    def _followed(self) -> DeviceVerletList:
        if self._list is None:
            raise SettingsError("there is no neighbour list to step with; call follow(atoms) first")
        return self._list

    def _run(self, rows: Rows, near: Geometry, x: Tensor, translations: Tensor, want: Collection[str]) -> Totals:
        totals = self._passes.run(rows, near, x, translations, "forces" in want, "stress" in want)
        return totals._replace(energies=totals.energies + self._zero)

    def _planned(self, structures: Structures, pairs: NeighborPairs | None) -> _Plan:
        if self._plan is None or pairs is None or self._plan.pairs() is not pairs:
            found, frames = self._found(structures) if pairs is None else self._sent(pairs)
            rows = rows_of(found, frames, structures.n_atoms)
            near = Geometry(rows, self._model.dtype, self._model.angular is not None)
            self._plan = _Plan(_nobody if pairs is None else weakref.ref(pairs), rows, near)
        return self._plan

    def _sent(self, pairs: NeighborPairs) -> tuple[HalfPairs, Tensor]:
        first, second, shifts, frames = (
            self._send(part).long() for part in (pairs.first, pairs.second, pairs.shifts, pairs.frames)
        )
        return HalfPairs(first, second, shifts), frames

    def _found(self, structures: Structures) -> tuple[HalfPairs, Tensor]:
        parts, frames = [], []
        for k, offset in enumerate(structures.offsets[:-1]):
            x = self._send(structures.positions[offset : offset + structures.counts[k]])
            found = find_half_pairs(x, self._send(structures.cells[k]), structures.pbc[k], self.cutoff_A)
            parts.append(HalfPairs(found.first + int(offset), found.second + int(offset), found.shifts))
            frames.append(torch.full_like(found.first, k))
        return HalfPairs(*(torch.cat(part) for part in zip(*parts, strict=True))), torch.cat(frames)

    def _send(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array)).to(self.device)

    def _here(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()


def chosen_kernels(kernels: str, device: str) -> str:
    """`triton` or `torch`.

    Raises:
        SettingsError: neither, or Triton where it cannot run.
    """
    if kernels not in KERNELS:
        raise SettingsError(f"kernels is {kernels!r}; choose one of {', '.join(KERNELS)}")
    installed = importlib.util.find_spec("triton") is not None
    runs = installed and (device == "cuda" or os.environ.get("TRITON_INTERPRET") == "1")
    if kernels == "triton" and not runs:
        reason = "it is not installed" if not installed else f"the device is {device} and TRITON_INTERPRET is not 1"
        raise SettingsError(f"kernels is 'triton', but {reason}; use kernels='auto' or 'torch'")
    if kernels == "auto":
        return "triton" if runs and device == "cuda" else "torch"
    return kernels


def _operators(kernels: str) -> ModuleType:
    return import_module(f"ru_calc.engine.{kernels}_kernels")


def _volume(cell: Tensor) -> Tensor:
    volume = (cell[0] * torch.linalg.cross(cell[1], cell[2])).sum().abs()
    return torch.where(volume > FLATTEST_A3, volume, torch.nan)


def _prediction(totals: Totals, structures: Structures, want: Collection[str]) -> Prediction:
    def by_frame(values: Tensor) -> np.ndarray:
        parts = values.split(structures.counts.tolist())
        return torch.stack([part.sum(dim=0) for part in parts]).cpu().numpy()

    stress = None if totals.virial is None else by_frame(totals.virial) / structures.volumes[:, None]
    return Prediction(
        energy=by_frame(totals.energies) if "energy" in want else None,
        energies=totals.energies.cpu().numpy() if "energies" in want else None,
        forces=None if totals.forces is None or "forces" not in want else totals.forces.cpu().numpy(),
        stress=stress,
    )


def _nothing(structures: Structures, want: Collection[str]) -> Prediction:
    frames = len(structures)
    shapes = {"energy": (frames,), "energies": (0,), "forces": (0, 3), "stress": (frames, 6)}
    return Prediction(**{name: np.zeros(shape) for name, shape in shapes.items() if name in want})
