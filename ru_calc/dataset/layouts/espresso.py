"""Outputs of Quantum ESPRESSO's pw.x: steps whose SCF did not converge are no data."""

from __future__ import annotations

from pathlib import Path

from ase.io import read

from ru_calc.dataset.layouts.contents import Contents

GIVEN_UP = "convergence NOT achieved"


def read_output(path: Path) -> Contents:
    """All frames, and those without a converged energy, which pw.x marks by an exclamation mark."""
    frames = list(read(path, index=":", format="espresso-out", do_not_split_by_at_sign=True))
    with open(path, encoding="utf-8", errors="replace") as file:
        given_up = any(GIVEN_UP in line for line in file)
    results = [getattr(atoms.calc, "results", {}) for atoms in frames]
    without = [k for k, found in enumerate(results) if found and found.get("energy") is None]
    return Contents(frames, dict.fromkeys(without if given_up else [], "its SCF did not converge"))
