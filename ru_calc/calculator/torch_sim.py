"""`TorchSimModel`: the potentials as a model of torch-sim, for relaxation and dynamics of many systems at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ru_calc.devices import resolve_device
from ru_calc.errors import DataError, ModelError, SettingsError
from ru_calc.modelfiles.open import open_model
from ru_calc.structures import Structures
from ru_calc.structures.frames import check_structures
from ru_calc.structures.neighbors import SAME_PLACE_A, NeighborPairs, VerletList
from ru_calc.units import RUTHENIUM, from_voigt

try:
    import torch_sim
    from torch_sim.models.interface import ModelInterface
except ImportError as problem:
    raise SettingsError(
        f"torch-sim cannot be imported ({problem}); install it with: pip install 'ru-calc[torch-sim]'"
    ) from problem


class TorchSimModel(ModelInterface):
    """Energies (s,) in eV, forces (n, 3) in eV/Å and stress (s, 3, 3) in eV/Å³, tension positive, of s systems.

    Every system has the results that it has alone with `RuCalculator`.  Positions are those of torch-sim's state, whose
    dtype is that of this model; float64 keeps energies exact.

    Args:
        model, device, skin_A, threads, engine: see `RuCalculator`.
        dtype: of the network and of torch-sim's states, "float32" or "float64".
        compute_forces, compute_stress: what is computed beside energies.

    Raises:
        SettingsError, ModelError: see `open_model`; the forces of the model are not the derivatives of its energy.
    """

    def __init__(
        self,
        model: str | Path = "default",
        device: str = "auto",
        dtype: str = "float64",
        skin_A: float = 1.0,
        threads: int = 1,
        engine: str = "auto",
        compute_forces: bool = True,
        compute_stress: bool = True,
    ) -> None:
        super().__init__()
        opened = open_model(model, dtype, device, threads, engine)
        if not opened.header["conservative"]:
            raise ModelError(f"the forces of model {model} are not the derivatives of its energy; choose another model")
        self._predictor, self._skin_A = opened.predictor, skin_A
        self._device, self._dtype = torch.device(resolve_device(device)), getattr(torch, dtype)
        self._compute_forces, self._compute_stress = bool(compute_forces), bool(compute_stress)
        self._memory_scales_with = "n_atoms_x_density"
        self._lists: list[VerletList] = []
        self._counts = np.zeros(0, dtype=np.int64)
        self._parts: list[NeighborPairs] = []
        self._pairs: NeighborPairs | None = None

    # What torch-sim's own checks and users set; the base class refuses.
    compute_forces = property(
        lambda self: self._compute_forces, lambda self, value: setattr(self, "_compute_forces", bool(value))
    )
    compute_stress = property(
        lambda self: self._compute_stress, lambda self, value: setattr(self, "_compute_stress", bool(value))
    )

    def forward(self, state: torch_sim.SimState | Mapping[str, Any], **_: Any) -> dict[str, torch.Tensor]:
        """Results of all systems of a state.

        Raises:
            DataError: an atom is not ruthenium, two are less than 0.1 Å apart, a position or cell cannot be used; the
                system is named.
            SettingsError: the state has another dtype than the model.
        """
        if isinstance(state, Mapping):
            state = torch_sim.SimState(**{"masses": torch.ones(len(state["positions"])), **state})
        if state.dtype != self._dtype:
            raise SettingsError(f"the state is of {state.dtype}, the model of {self._dtype}; make both alike (dtype=)")
        structures, pairs = self._neighbors_of(structures_of(state))
        want = ["energy", *(["forces"] * self._compute_forces), *(["stress"] * self._compute_stress)]
        found = self._predictor.predict(structures, pairs, want)
        results = {"energy": self._tensor(found.energy, state)}
        if self._compute_forces:
            results["forces"] = self._tensor(found.forces, state)
        if self._compute_stress:
            results["stress"] = self._tensor(from_voigt(found.stress), state)
        return results

    def _tensor(self, values: np.ndarray, state: torch_sim.SimState) -> torch.Tensor:
        return torch.from_numpy(values).to(state.device, self._dtype)

    def _neighbors_of(self, structures: Structures) -> tuple[Structures, NeighborPairs]:
        """Each system has a list of its own, and all of them joined remain until one is made again."""
        if not np.array_equal(structures.counts, self._counts):
            check_structures(structures, lambda k: f"system {k}: ")
            self._counts, self._parts, self._pairs = structures.counts.copy(), [], None
            self._lists = [VerletList(self._predictor.cutoff_A, self._skin_A) for _ in self._counts]
        positions, parts = [], []
        for k, one in enumerate(self._lists):
            alone = structures.frame(k)
            if not np.isfinite(alone.positions).all():
                raise DataError(f"system {k}: positions are not finite; take a shorter time step")
            try:
                followed, pairs = one.update(alone)
            except DataError as problem:
                raise DataError(f"system {k}: {problem}") from None
            if close := one.closer_than(followed, SAME_PLACE_A):
                raise DataError(f"system {k}: {close}, less than {SAME_PLACE_A} Å; take a shorter time step")
            positions.append(followed.positions)
            parts.append(pairs)
        if self._pairs is None or any(new is not old for new, old in zip(parts, self._parts, strict=True)):
            self._parts, self._pairs = parts, NeighborPairs.joined(parts, structures.offsets)
        return replace(structures, positions=np.concatenate(positions)), self._pairs


def structures_of(state: torch_sim.SimState) -> Structures:
    """The systems of a state, whose cells have lattice vectors as columns.

    Raises:
        DataError: an atom is not ruthenium.
    """
    numbers = state.atomic_numbers.cpu().numpy()
    foreign = np.flatnonzero(numbers != RUTHENIUM)
    if len(foreign):
        raise DataError(
            f"atom {foreign[0]} has the atomic number {numbers[foreign[0]]}; this potential is for ruthenium (44) only"
        )
    cells = state.row_vector_cell.detach().cpu().double().numpy()
    pbc = np.broadcast_to(np.asarray(torch.as_tensor(state.pbc).cpu()), (len(cells), 3))
    counts = np.bincount(state.system_idx.cpu().numpy(), minlength=len(cells))
    return Structures(state.positions.detach().cpu().double().numpy(), cells, pbc, counts)
