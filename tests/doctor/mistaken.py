"""Mistakes of units and signs made on purpose, sets of frames to make them in, and a table of what is recognised.

Run as a script it prints the table: `python tests/doctor/mistaken.py [FRAMES] [SEED]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ru_calc.dataset import Dataset, read_dataset
from ru_calc.doctor import Report, examine

# Written down here by hand, not taken from the package: CODATA 2018.
BOHR_A, HARTREE_EV, KCAL_EV, KJ_EV, GPA = 0.529177210903, 27.211386245988, 0.0433641153, 0.01036426966, 0.0062415091


@dataclass(frozen=True)
class Mistake:
    """What is done to the right data, and what must be answered: a rule, and words of the option that mends it."""

    spoil: Callable[[Dataset], Dataset]
    rule: str
    option: str


def lengths(factor: float) -> Callable[[Dataset], Dataset]:
    def spoil(d: Dataset) -> Dataset:
        s = d.structures
        return replace(d, structures=replace(s, positions=s.positions * factor, cells=s.cells * factor))

    return spoil


def energy(factor: float, power: float = 0.0) -> Callable[[Dataset], Dataset]:
    return lambda d: replace(d, energy=d.energy * factor * d.structures.counts.astype(float) ** power)


def forces(factor: float) -> Callable[[Dataset], Dataset]:
    return lambda d: replace(d, forces=d.forces * factor)


def stress(factor: float, power: float = 0.0) -> Callable[[Dataset], Dataset]:
    return lambda d: replace(d, stress=d.stress * factor * d.structures.volumes[:, None] ** power)


MISTAKES = {
    "positions in bohr": Mistake(lengths(1 / BOHR_A), "length-unit", "--length-unit bohr"),
    "positions in nm": Mistake(lengths(0.1), "length-unit", "--length-unit nm"),
    "energy in Ha": Mistake(energy(1 / HARTREE_EV), "energy-scale", "--energy-unit Ha"),
    "energy in Ry": Mistake(energy(2 / HARTREE_EV), "energy-scale", "--energy-unit Ry"),
    "energy in kcal/mol": Mistake(energy(1 / KCAL_EV), "energy-scale", "--energy-unit kcal/mol"),
    "energy in kJ/mol": Mistake(energy(1 / KJ_EV), "energy-scale", "--energy-unit kJ/mol"),
    "energy in meV": Mistake(energy(1e3), "energy-scale", "--energy-unit meV"),
    "energy per atom": Mistake(energy(1, -1), "energy-scale", "--energy-per-atom"),
    "energy times atoms": Mistake(energy(1, 1), "energy-scale", "write total energies"),
    "binding energy": Mistake(energy(-1), "energy-scale", "lower for what is more stable"),
    "forces in Ha/bohr": Mistake(forces(BOHR_A / HARTREE_EV), "forces-scale", "--forces-unit Ha/bohr"),
    "forces in Ry/bohr": Mistake(forces(2 * BOHR_A / HARTREE_EV), "forces-scale", "--forces-unit Ry/bohr"),
    "forces in eV/bohr": Mistake(forces(BOHR_A), "forces-scale", "--forces-unit eV/bohr"),
    "forces in kcal/mol/Å": Mistake(forces(1 / KCAL_EV), "forces-scale", "--forces-unit kcal/mol/Angstrom"),
    "forces in kJ/mol/nm": Mistake(forces(10 / KJ_EV), "forces-scale", "--forces-unit kJ/mol/nm"),
    "forces in meV/Å": Mistake(forces(1e3), "forces-scale", "--forces-unit meV/Angstrom"),
    "gradient for force": Mistake(forces(-1), "forces-scale", "--forces-sign gradient"),
    "gradient in Ha/bohr": Mistake(forces(-BOHR_A / HARTREE_EV), "forces-scale", "--forces-unit Ha/bohr --forces-sign"),
    "stress in GPa": Mistake(stress(1 / GPA), "stress-scale", "--stress-unit GPa"),
    "stress in kbar": Mistake(stress(10 / GPA), "stress-scale", "--stress-unit kbar"),
    "stress in bar": Mistake(stress(1e4 / GPA), "stress-scale", "--stress-unit bar"),
    "stress in Ha/bohr³": Mistake(stress(BOHR_A**3 / HARTREE_EV), "stress-scale", "--stress-unit Ha/bohr^3"),
    "VASP's sign": Mistake(stress(-1), "stress-scale", "--stress-sign vasp"),
    "VASP's kbar": Mistake(stress(-10 / GPA), "stress-scale", "--stress-unit kbar --stress-sign"),
    "pressure in GPa": Mistake(stress(-1 / GPA), "stress-scale", "--stress-unit GPa --stress-sign"),
    "virial for stress": Mistake(stress(-1, 1), "stress-scale", "--virial-key"),
    "stress times volume": Mistake(stress(1, 1), "stress-scale", "--virial-key"),
}  # fmt: skip

KINDS = {
    "bulk series": r"eos|strain|hcp_ca|bain", "rattled": r"rattle", "MD": r"^md_(bulk|hcp|fcc|press|stretch)",
    "liquid": r"liquid", "slabs": r"slab|surf", "clusters": r"cluster", "dimers": r"dimer",
    "defects": r"vac|interstitial|stacking|sia",
}  # fmt: skip


def subset(data: str, kind: str, frames: int, seed: int = 0) -> Dataset:
    """Some random frames of a shipped set, of one of `KINDS` or of `all`, in their order."""
    dataset = shipped(data)
    pattern = KINDS.get(kind, "")
    import re

    of_kind = [k for k, name in enumerate(dataset.config_type) if re.search(pattern, str(name))]
    chosen = np.random.default_rng(seed).permutation(of_kind)[:frames]
    return dataset.select(np.sort(chosen))


_CACHE: dict[str, Dataset] = {}


def shipped(name: str) -> Dataset:
    if name not in _CACHE:
        _CACHE[name] = read_dataset(name)
    return _CACHE[name]


def verdict(report: Report, mistake: Mistake) -> str:
    """`yes`; `either` where the right option is one of several; `open` if said to be undecided; else what came."""
    errors = [found for found in report.findings if found.severity != "note"]
    right = [
        found for found in errors if found.rule == mistake.rule or found.rule == mistake.rule.replace("scale", "absurd")
    ]
    others = [found.rule for found in errors if found not in right]
    if others:
        return "FALSE " + "+".join(others)
    if right:
        if not all(option in right[0].mend for option in mistake.option.split(" --")):
            return "OTHER " + right[0].mend[:60]
        return "either" if " or " in right[0].mend else "yes"
    quantity = mistake.rule.split("-")[0]
    said = any(quantity in sentence for sentence in report.undecided)
    return "open" if said else "MISSED"


def table(frames: int, seed: int) -> list[list[str]]:
    """One row per mistake, one column per set of frames, the untouched sets first."""
    sets = {
        f"{data}/{kind}": subset(data, kind, frames, seed) for data in ("gpaw", "distilled") for kind in ("all", *KINDS)
    }
    rows = [["", *sets]]
    clean = {name: examine(one) for name, one in sets.items()}
    rows.append(
        [
            "untouched",
            *("; ".join(f.rule for f in r.findings if f.severity != "note") or "none" for r in clean.values()),
        ]
    )
    for name, mistake in MISTAKES.items():
        rows.append([name, *(verdict(examine(mistake.spoil(one)), mistake) for one in sets.values())])
    return rows


if __name__ == "__main__":
    arguments = [int(word) for word in sys.argv[1:]]
    for row in table(*([*arguments, 12, 0][:1] + [*arguments[1:], 0][:1])):
        print("\t".join(row), flush=True)
