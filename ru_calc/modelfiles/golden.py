"""Golden structures: a few fixed frames whose energies and forces a model file states, and an engine must reproduce."""

from __future__ import annotations

from typing import Any

import numpy as np

from ru_calc.errors import ModelError
from ru_calc.predictor import Predictor
from ru_calc.structures import Structures

ENERGIES, FORCES = "golden_energies_eV", "golden_forces_eV_per_A"
# Beside these, 1e-9 of the value, for atoms that overlap.
TOLERANCE = {"energy": 1e-6, "forces": 1e-6}  # eV per atom, eV/Å
RELATIVE = 1e-9
FIRST_VERSION = 5  # structures in the files of version 1, which have no forces
CORE_A = (0.5, 0.8, 1.1, 1.4, 1.7)  # distances of dimers
FROM_CUTOFF_A = (-1.0, -0.3, -0.02, 0.02)
# 12 atoms at 3500 K, from molecular dynamics with the default model.
LIQUID_CELL_A = [[8.58, 0.0, 0.0], [-2.86, 4.954, 0.0], [0.0, 0.0, 4.55]]
LIQUID_PERMILLE = """
757 326 332   66  10 655  234 894 979  875 876 152  365 460 584  540 490  34
875 327 793  419  90 567  134 272 133   80 678 455  727 809 593  536 926  72
"""


def golden_structures(cutoff_A: float, count: int | None = None) -> Structures:
    """hcp, compressed fcc, a strained bcc cell, a dimer and an atom; a liquid; dimers in the core and at the cutoff.

    Args:
        cutoff_A: of the model.
        count: the first so many; None for all.
    """
    a, c = 2.72, 4.29
    hcp = np.array([[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, c]])
    fcc = 3.75 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    bcc = np.array([[3.1, 0.1, 0], [0, 3.05, 0.2], [-0.1, 0, 3.2]])
    liquid = np.array(LIQUID_CELL_A)
    fractions = np.array(LIQUID_PERMILLE.split(), dtype=float).reshape(-1, 3) / 1000
    frames = [
        (np.array([[0, 0, 0], [1 / 3, 2 / 3, 0.51]]) @ hcp, hcp),
        (np.zeros((1, 3)), fcc),
        (np.array([[0, 0, 0], [0.5, 0.48, 0.5]]) @ bcc, bcc),
        (np.array([[0, 0, 0], [2.2, 0.1, 0]]), None),
        (np.zeros((1, 3)), None),
        (fractions @ liquid, liquid),
        *((distance * np.array([[0, 0, 0], [0.6, 0.0, 0.8]]), None) for distance in CORE_A),
        *(((cutoff_A + by) * np.array([[0, 0, 0], [0.0, 0.8, -0.6]]), None) for by in FROM_CUTOFF_A),
    ][:count]
    return Structures(
        positions=np.concatenate([positions for positions, _ in frames]),
        cells=np.array([np.zeros((3, 3)) if cell is None else cell for _, cell in frames]),
        pbc=np.array([[cell is not None] * 3 for _, cell in frames]),
        counts=np.array([len(positions) for positions, _ in frames]),
    )


def golden_values(predictor: Predictor) -> dict[str, Any]:
    """Energies in eV and forces in eV/Å of all golden structures, as a header has them."""
    found = predictor.predict(golden_structures(predictor.cutoff_A), None, ("energy", "forces"))
    return {ENERGIES: found.energy.tolist(), FORCES: found.forces.tolist()}


def golden_errors(predictor: Predictor, header: dict[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """How far predictions in float64 are from the golden values of a header, and what is allowed, by quantity.

    Energies are in eV per atom, forces in eV/Å.
    """
    structures = golden_structures(predictor.cutoff_A, len(header[ENERGIES]))
    expected = {"energy": np.array(header[ENERGIES])}
    if FORCES in header:
        expected["forces"] = np.array(header[FORCES])
    found = predictor.predict(structures, None, tuple(expected))
    scales = {"energy": structures.counts, "forces": np.ones((structures.n_atoms, 1))}
    return {
        quantity: (
            np.abs(getattr(found, quantity) - values) / scales[quantity],
            TOLERANCE[quantity] + RELATIVE * np.abs(values) / scales[quantity],
        )
        for quantity, values in expected.items()
    }


def check_golden(predictor: Predictor, header: dict[str, Any], name: str) -> None:
    """Compares predictions in float64 with the golden values of a header.

    Raises:
        ModelError: they differ.
    """
    for quantity, (error, allowed) in golden_errors(predictor, header).items():
        if not (error < allowed).all():
            plural, unit = {"energy": ("energies", "eV/atom"), "forces": ("forces", "eV/Å")}[quantity]
            raise ModelError(
                f"{name}: golden {plural} differ by {error.max():.2g} {unit} (at most {TOLERANCE[quantity]:g} is "
                "allowed); the file is damaged or from another version: copy or fit it again"
            )
