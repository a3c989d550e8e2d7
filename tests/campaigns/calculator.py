"""Fuzzes the calculator: random atoms, settings and sequences of calls, against an evaluation of its own.

    python tests/campaigns/calculator.py --count 10000 --seed 0

One calculator gets several configurations in a row (moves, strains, wraps, atoms added and lost, copies of itself).
Each is held against the network itself in float64 on pairs from a sum over all images.  An error must be one of ASE's,
and must have its cause in the atoms.  A case that takes more than 10 s, or ends the process, is a failure.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from functools import cache

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, InputError, PropertyNotImplementedError
from campaign import Limits, Work, main
from random_atoms import CHANGES, KINDS, Draw

from ru_calc import RuCalculator
from ru_calc.checks.tolerance import Figure, deviations
from ru_calc.modelfiles import load_model
from ru_calc.potentials.derivatives import Reference
from ru_calc.predictor import WANTED, Prediction
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs

MODELS = {"default": 6, "fast": 4, "omat": 2, "plain": 1, "ani": 1, "gnn": 1, "kan": 1, "calhousnet": 1}
TOO_CLOSE_A = 0.1  # below, results need not be finite, and may be refused
ROUNDING_FACTOR = 5.0  # of what it costs the network itself
AT_ONCE = 200_000  # distances


def make(seed: int) -> tuple[str, Work]:
    draw = np.random.default_rng(seed)
    kind = str(draw.choice([*KINDS]))
    atoms = KINDS[kind](draw)
    return kind, lambda: walk(draw, atoms)


def walk(draw: Draw, atoms: Atoms) -> str:
    """Several configurations by one calculator, each compared; how it ended."""
    model = str(draw.choice([*MODELS], p=np.array([*MODELS.values()]) / sum(MODELS.values())))
    settings = {
        "dtype": str(draw.choice(["float32", "float64"])),
        "engine": str(draw.choice(["auto", "auto", "auto", "reference"])),
        "skin_A": float(draw.choice([0.0, 0.3, 1.0, 3.0])),
        "threads": int(draw.integers(1, 4)),
    }
    if settings["engine"] == "reference" or model not in ("default", "fast", "omat", "plain"):
        settings["threads"] = 1  # those of torch spin while they wait, and here other processes run
    warnings.simplefilter("ignore", UserWarning)  # atoms at random have unphysical energies
    calculator, ends = RuCalculator(model, "cpu", **settings), set()
    for _ in range(draw.integers(1, 6)):
        try:
            ends.add(compare(draw, calculator, atoms))
        except AssertionError as problem:
            raise AssertionError(f"{model} {settings}: {problem}") from problem
        atoms = atoms.copy()
        CHANGES[draw.integers(len(CHANGES))](draw, atoms)
        calculator = continued(draw, calculator)
    return "agrees" if ends == {"agrees"} else "refused"


def continued(draw: Draw, calculator: RuCalculator) -> RuCalculator:
    """The same calculator, or now and then a copy of it."""
    luck = draw.random()
    if luck < 0.05:
        return copy.deepcopy(calculator)
    return pickle.loads(pickle.dumps(calculator)) if luck < 0.1 else calculator


def compare(draw: Draw, calculator: RuCalculator, atoms: Atoms) -> str:
    """Asks for some properties in some order, and holds them against the network on all pairs."""
    pairs, closest_A = all_pairs(atoms, calculator.cutoff_A)
    names = [str(name) for name in draw.permutation(WANTED)[: draw.integers(1, 5)]]
    found, structures = {}, Structures.from_atoms(atoms)
    for name in names:
        try:
            found[name] = calculator.get_property(name, atoms)
        except PropertyNotImplementedError:
            assert name == "stress" and np.isnan(structures.volumes[0]), "stress is refused in a cell with a volume"
        except (InputError, CalculationFailed) as problem:
            assert closest_A < TOO_CLOSE_A, f"atoms {closest_A:.3g} Å apart are refused: {problem}"
            return "refused"
    expected = network(calculator.parameters["model"], "float64").predict(structures, pairs)
    for figure in differences(found, expected, calculator.parameters["dtype"]):
        if not figure.passed and closest_A > TOO_CLOSE_A:
            check_figure(figure, rounded(draw, calculator, atoms, pairs), expected)
    return "agrees"


def differences(found: dict, expected: Prediction, dtype: str) -> list[Figure]:
    """Of what was asked for; the energies of the atoms always are at hand."""
    one = Prediction(
        None if "energy" not in found else np.array([found["energy"]]),
        found.get("energies"), found.get("forces"), None if "stress" not in found else found["stress"][None],
    )  # fmt: skip
    other = Prediction(*(getattr(expected, name) if name in found else None for name in WANTED))
    row = "float64 tables" if dtype == "float64" else "float32"
    return list(deviations(one, other, row, len(expected.energies)))


def rounded(draw: Draw, calculator: RuCalculator, atoms: Atoms, pairs: NeighborPairs) -> Prediction:
    """What the network itself gives in the calculator's precision, from positions that differ in the last digit."""
    other = atoms.copy()
    other.positions += draw.choice([-1, 1], size=(len(atoms), 3)) * np.spacing(atoms.positions)
    parameters = calculator.parameters
    return network(parameters["model"], parameters["dtype"]).predict(Structures.from_atoms(other), pairs)


def check_figure(figure: Figure, rounded: Prediction, expected: Prediction) -> None:
    """The calculator may be off by a few times what rounding costs the network itself."""
    costs = [one.value for one in deviations(rounded, expected, "float64") if one.of == figure.of]
    allowed = max(figure.bound, max(costs) * ROUNDING_FACTOR)
    assert figure.value <= allowed, (
        f"{figure.of} is off by {figure.value:.3g} {figure.unit}, and {allowed:.3g} is allowed"
    )


@cache
def network(model: str, dtype: str) -> Reference:
    return Reference(load_model(model).potential, getattr(torch, dtype))


def all_pairs(atoms: Atoms, cutoff_A: float) -> tuple[NeighborPairs, float]:
    """Every pair within the cutoff by a sum over all images, and the smallest distance (infinite without pairs)."""
    cell, pbc = atoms.cell.array * atoms.pbc[:, None], np.flatnonzero(atoms.pbc)
    home, reach = np.zeros((len(atoms), 3), dtype=int), np.zeros(3, dtype=int)
    if len(pbc):
        inverse = np.linalg.pinv(cell[pbc])
        home[:, pbc] = np.floor(atoms.positions @ inverse).astype(int)
        reach[pbc] = np.ceil(cutoff_A * np.linalg.norm(inverse, axis=0) + 1).astype(int)
    points = atoms.positions - home @ cell
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[len(grid) // 2 :]  # no shift, then half of the others
    parts, step = [], max(1, AT_ONCE // len(atoms) ** 2)
    for start in range(0, len(grid), step):
        shifts = grid[start : start + step]
        vectors = points[None, None] - points[None, :, None] + (shifts @ cell)[:, None, None]
        near = np.argwhere((vectors**2).sum(axis=-1) < cutoff_A**2)
        if start == 0:
            near = near[(near[:, 0] > 0) | (near[:, 1] < near[:, 2])]
        parts.append(np.column_stack([near[:, 1:], shifts[near[:, 0]]]))
    first, second, *shift = np.concatenate(parts).T
    shifts = np.stack(shift, axis=1) + home[first] - home[second]
    pairs = NeighborPairs(first, second, shifts.astype(np.int32), np.zeros(len(first), dtype=np.int64))
    distances = np.linalg.norm(pairs.vectors(Structures.from_atoms(atoms)), axis=1)
    return pairs, float(distances.min(initial=np.inf))


if __name__ == "__main__":
    main(make, __doc__.splitlines()[0], Limits(time_s=10.0), count=10_000)
