"""`TorchSimModel`: the potentials as a model of torch-sim, for relaxation and dynamics of many systems at once.

Works with torch-sim 0.3, which Python 3.11 gets, up to 0.6, which needs Python 3.12.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from ru_calc.errors import DataError, ModelError, SettingsError
from ru_calc.modelfiles.open import open_model
from ru_calc.structures import Structures
from ru_calc.structures.frames import check_atoms, check_structures
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

    Every system has the results that it has alone with `RuCalculator`, and NaN for stress where it has no volume.
    Positions are those of torch-sim's state, whose dtype and device are those of this model; sums are float64 within.
    The neighbor lists are made on the CPU.

    torch-sim has one pbc for all systems of a state.  Its version 0.3 knows only all or nothing, and `atoms_to_state`
    there makes a slab that is periodic in two directions a cluster: give it vacuum and pbc in all three.

    Args:
        model, skin_A, threads, engine: see `RuCalculator`.
        device: see `RuCalculator`, or a `torch.device`.
        dtype: of the network and of torch-sim's states, float32 or float64, by name or from torch.
        compute_forces, compute_stress: what is computed beside energies.

    Raises:
        SettingsError, ModelError: see `open_model`; the forces of the model are not the derivatives of its energy.
    """

    def __init__(
        self,
        model: str | Path = "default",
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "float64",
        skin_A: float = 1.0,
        threads: int = 1,
        engine: str = "auto",
        compute_forces: bool = True,
        compute_stress: bool = True,
    ) -> None:
        super().__init__()
        name = str(dtype).removeprefix("torch.")
        opened = open_model(model, name, str(device), threads, engine)
        if not opened.header["conservative"]:
            raise ModelError(f"the forces of model {model} are not the derivatives of its energy; choose another model")
        self._predictor, self._skin_A = opened.predictor, skin_A
        self._device, self._dtype = torch.device(opened.device), getattr(torch, name)
        self._compute_forces, self._compute_stress = bool(compute_forces), bool(compute_stress)
        self._memory_scales_with = "n_atoms_x_density"
        self._lists: list[VerletList] = []
        self._counts = np.zeros(0, dtype=np.int64)
        self._parts: list[NeighborPairs] = []
        self._pairs: NeighborPairs | None = None
        self._warned = False

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
            SettingsError: the state has another dtype than the model, or is on another kind of device.
        """
        if isinstance(state, Mapping):
            state = torch_sim.SimState(**{"masses": torch.ones_like(state["positions"][:, 0]), **state})
        for what, found, own in (
            ("dtype", state.dtype, self._dtype), ("device", state.device.type, self._device.type),
        ):  # fmt: skip
            if found != own:
                raise SettingsError(f"{what} of the state is {found}, of the model {own}; make both alike ({what}=)")
        structures = structures_of(state)
        self._warn_of_clusters(state, structures)
        structures, pairs = self._neighbors_of(structures)
        want = ["energy", *(["forces"] * self._compute_forces), *(["stress"] * self._compute_stress)]
        found = self._predictor.predict(structures, pairs, want)
        results = {"energy": self._tensor(found.energy, state)}
        if self._compute_forces:
            results["forces"] = self._tensor(found.forces, state)
        if self._compute_stress:
            results["stress"] = self._tensor(from_voigt(found.stress), state)
        return results

    def _warn_of_clusters(self, state: torch_sim.SimState, structures: Structures) -> None:
        """Version 0.3 turns pbc of (True, True, False) into False, where later ones keep all three."""
        if self._warned or state.pbc is not False or np.isnan(structures.volumes).all():
            return
        self._warned = True
        warnings.warn(
            "pbc is False, so the atoms are clusters although they have a cell; if they are slabs or wires, which this "
            "version of torch-sim makes non-periodic, set pbc = True in all directions, with vacuum",
            stacklevel=4,
        )

    def _tensor(self, values: np.ndarray, state: torch_sim.SimState) -> torch.Tensor:
        return torch.from_numpy(values).to(state.device, self._dtype)

    def _neighbors_of(self, structures: Structures) -> tuple[Structures, NeighborPairs]:
        """Each system has a list of its own, and all of them joined remain until one is made again."""
        check_structures(structures, lambda k: f"system {k}: ")
        if not np.array_equal(structures.counts, self._counts):
            self._counts, self._parts, self._pairs = structures.counts.copy(), [], None
            self._lists = [VerletList(self._predictor.cutoff_A, self._skin_A) for _ in self._counts]
        positions, parts = [], []
        for k, one in enumerate(self._lists):
            alone = structures.frame(k)
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
    system, numbers = state.system_idx.cpu().numpy(), state.atomic_numbers.cpu().numpy()
    positions = state.positions.detach().cpu().double().numpy()
    cells = state.row_vector_cell.detach().cpu().double().numpy()
    pbc = np.broadcast_to(np.asarray(torch.as_tensor(state.pbc).cpu()), (len(cells), 3))
    for k in np.unique(system[numbers != RUTHENIUM])[:1]:
        own = system == k
        check_atoms(Atoms(numbers[own], positions[own], cell=cells[k], pbc=pbc[k]), f"system {k}: ")
    return Structures(positions, cells, pbc, np.bincount(system, minlength=len(cells)))
