"""Checks that several tests share.

Each raises AssertionError where a claim does not hold; sabotage tests call the same check on something broken.  An
`Evaluate` turns atoms into a `Prediction`; `evaluator` makes one of a potential, and a sabotage wraps it or its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk, fcc111
from conftest import small_model

from ru_calc.checks import derivatives, invariance
from ru_calc.checks.dynamics import verlet
from ru_calc.checks.images import as_keys as as_keys
from ru_calc.checks.images import wrong_pairs
from ru_calc.checks.invariance import Evaluate as Evaluate
from ru_calc.checks.structures import rattled as rattled
from ru_calc.checks.tolerance import Figure, deviations
from ru_calc.checks.walks import constant_pressure_walk as constant_pressure_walk
from ru_calc.potentials import FAMILIES, Pairs, Potential
from ru_calc.potentials.derivatives import Batch, Reference
from ru_calc.predictor import WANTED, Prediction
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs, find_pairs

Find = Callable[[Structures, float], NeighborPairs]

# Settings of small networks where a family's own do not suit tests.  A fresh KAN sees symmetry functions that are not
# standardised: a step of the finite differences would cross knots that lie close.
SMALL: dict[str, dict[str, object]] = {"kan": {"grid_range": 40.0}}


def small_potential(family: str = "schnet", seed: int = 0, **changes: object) -> Potential:
    """A random narrow network of a family, float64; SchNet's energies are of the order of 1 eV per atom."""
    if family == "schnet":
        model = small_model(seed, **changes)
        with torch.no_grad():
            model.energy[-1].weight *= 20.0
        return model.eval()
    potential, settings = FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return potential(settings(**{**SMALL.get(family, {}), **changes})).double().eval()


def frames() -> dict[str, Atoms]:
    """One of each kind of boundary and size: bulk, small and skewed cells, slab, wire, cluster, dimer, lone atom."""
    hcp = bulk("Ru", "hcp", a=2.7, c=4.28)
    skewed = bulk("Ru", "fcc", a=3.8)
    skewed.set_cell(skewed.cell.array + np.array([[0, 0, 0], [3, 0, 0], [-2, 4, 0]]) @ skewed.cell.array)
    slab = fcc111("Ru", (2, 2, 3), a=3.8, periodic=False)
    wire = bulk("Ru", "bcc", a=3.1, cubic=True) * (2, 2, 1)
    wire.pbc = (False, False, True)
    wire.cell[:2] = 0.0
    cluster = hcp * (2, 2, 2)
    cluster.pbc, cluster.cell = False, np.zeros((3, 3))
    return {
        "hcp": rattled(hcp * (2, 2, 2)),
        "two atoms": rattled(hcp),
        "one atom": bulk("Ru", "fcc", a=3.75),
        "skewed": rattled(skewed * (1, 1, 2)),
        "slab": rattled(slab),
        "wire": rattled(wire),
        "cluster": rattled(cluster),
        "dimer": Atoms("Ru2", [[0, 0, 0], [2.1, 0.3, -0.4]]),
        "lone": Atoms("Ru", [[3.0, -1.0, 20.0]]),
    }


def fan(r_A: float, *angles_deg: float) -> Atoms:
    """An atom with neighbours at r in a plane."""
    angles = np.deg2rad(angles_deg)
    return Atoms(f"Ru{1 + len(angles)}", [[0, 0, 0], *([r_A * np.cos(t), r_A * np.sin(t), 0] for t in angles)])


def evaluator(potential: Potential, dtype: str = "float64", find: Find = find_pairs) -> Evaluate:
    """Evaluates atoms with a fresh neighbour list."""
    reference = Reference(potential, getattr(torch, dtype))

    def evaluate(atoms: Atoms) -> Prediction:
        structures = Structures.from_atoms(atoms)
        return reference.predict(structures, find(structures, reference.cutoff_A), WANTED)

    return evaluate


def assert_same(found: Prediction, expected: Prediction, row: str = "float64", label: str = "") -> None:
    """Both hold the same energies, forces and stress, within a row of TOLERANCE."""
    for figure in deviations(found, expected, row):
        assert_passed(figure.at(label))


def assert_passed(figure: Figure) -> None:
    assert figure.passed, f"{figure.of} {figure.where}: {figure.value:.3g}, not within {figure.bound:.3g} {figure.unit}"


def batch_of(atoms: Atoms | list[Atoms], cutoff_A: float = 5.0) -> Batch:
    """Atoms with their pairs within a cutoff, float64."""
    structures = Structures.from_atoms(atoms)
    return Batch.from_structures(structures, find_pairs(structures, cutoff_A), torch.float64)


def pairs_of(atoms: Atoms, cutoff_A: float = 5.0) -> Pairs:
    """What a potential sees of atoms; vectors ask for derivatives."""
    batch = batch_of(atoms, cutoff_A)
    return Pairs(len(atoms), batch.first, batch.second, batch.vectors.requires_grad_())


# Neighbours


def check_pairs(pairs: NeighborPairs, structures: Structures, cutoff_A: float) -> None:
    """`pairs` holds each pair of the brute-force sum once; only a pair at the very cutoff may be in or out."""
    wrong = wrong_pairs(pairs, structures, cutoff_A)
    assert not wrong, f"{len(wrong)} wrong pairs: {'; '.join(wrong[:3])}"


def without(pairs: NeighborPairs, k: int) -> NeighborPairs:
    """All but pair k."""
    return NeighborPairs(*(np.delete(getattr(pairs, field.name), k, axis=0) for field in fields(pairs)))


# Derivatives


def check_forces(evaluate: Evaluate, atoms: Atoms) -> None:
    assert_passed(derivatives.force_error(evaluate, atoms))


def check_stress(evaluate: Evaluate, atoms: Atoms) -> None:
    assert_passed(derivatives.stress_error(evaluate, atoms))


def check_smooth_at_cutoff(evaluate: Evaluate, cutoff_A: float, near: Atoms) -> None:
    assert_passed(derivatives.cutoff_curvature(evaluate, cutoff_A, near))


# Invariances


def check_supercell(evaluate: Evaluate, atoms: Atoms, row: str = "float64") -> None:
    assert_same(*invariance.supercell(evaluate, atoms), row)


def check_rotation(evaluate: Evaluate, atoms: Atoms, row: str = "float64") -> None:
    assert_same(*invariance.rotation(evaluate, atoms), row)


def check_permutation(evaluate: Evaluate, atoms: Atoms, row: str = "float64") -> None:
    assert_same(*invariance.permutation(evaluate, atoms), row)


def check_translation(evaluate: Evaluate, atoms: Atoms, row: str = "float64") -> None:
    for two in (invariance.translation, invariance.far_away):
        assert_same(*two(evaluate, atoms), row)


def check_wrap(evaluate: Evaluate, atoms: Atoms, row: str = "float64") -> None:
    assert_same(*invariance.unwrapped(evaluate, atoms), row)


def check_split(evaluate: Evaluate, one: Atoms, other: Atoms, row: str = "float64", gap_A: float = 30.0) -> None:
    assert_same(*invariance.fragments(evaluate, one, other, gap_A), row)


def check_energy_is_conserved(evaluate: Evaluate, atoms: Atoms, timestep_fs: float = 2.0, steps: int = 16) -> None:
    """Velocity Verlet at 300 K: the error of the total energy is the integrator's, and falls fourfold with half a step.

    Forces that are not the slope of the energy leave an error that does not fall.
    """
    runs = [verlet(evaluate, atoms, timestep_fs / cut, steps * cut) for cut in (1, 2)]
    errors = [np.abs(run.energies - run.energies[0]).max() for run in runs]
    assert errors[0] > 1e-9, "nothing moves"
    assert 3.0 < errors[0] / errors[1] < 5.0, f"errors are {errors[0]:.2g} and {errors[1]:.2g} eV"
