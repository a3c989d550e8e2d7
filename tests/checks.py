"""Checks that several tests share.

Each raises AssertionError where a claim does not hold; sabotage tests call the same check on something broken.  An
`Evaluate` turns atoms into a `Prediction`; `evaluator` makes one of a potential, and a sabotage wraps it or its parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import product

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk, fcc111
from ase.md.velocitydistribution import thermalize_momenta
from conftest import TOLERANCE, small_model
from scipy.spatial.transform import Rotation

from ru_calc.potentials import FAMILIES, Pairs, Potential
from ru_calc.potentials.derivatives import Batch, Reference
from ru_calc.predictor import WANTED, Prediction
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs, find_pairs

Evaluate = Callable[[Atoms], Prediction]
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


def rattled(atoms: Atoms, seed: int = 1, by_A: float = 0.1) -> Atoms:
    """The same atoms, displaced at random."""
    atoms = atoms.copy()
    atoms.positions += np.random.default_rng(seed).normal(scale=by_A, size=(len(atoms), 3))
    return atoms


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


def assert_same(found: Prediction, expected: Prediction, dtype: str = "float64") -> None:
    """Both hold the same energies, forces and stress up to rounding."""
    for quantity, name in (("energy", "energies"), ("forces", "forces"), ("stress", "stress")):
        a, b = getattr(found, name), getattr(expected, name)
        assert (a is None) == (b is None), f"{name}: one is missing"
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype][quantity], err_msg=name)
    atoms = len(expected.energies)
    np.testing.assert_allclose(found.energy / atoms, expected.energy / atoms, rtol=0, atol=TOLERANCE[dtype]["energy"])


def batch_of(atoms: Atoms | list[Atoms], cutoff_A: float = 5.0) -> Batch:
    """Atoms with their pairs within a cutoff, float64."""
    structures = Structures.from_atoms(atoms)
    return Batch.from_structures(structures, find_pairs(structures, cutoff_A), torch.float64)


def pairs_of(atoms: Atoms, cutoff_A: float = 5.0) -> Pairs:
    """What a potential sees of atoms; vectors ask for derivatives."""
    batch = batch_of(atoms, cutoff_A)
    return Pairs(len(atoms), batch.first, batch.second, batch.vectors.requires_grad_())


# Neighbours


def brute_force_pairs(structures: Structures, cutoff_A: float) -> dict[tuple[int, ...], float]:
    """{(i, j, S): distance} of one frame by a sum over all images that could matter; i < j, or i = j with S > 0."""
    positions, pbc = structures.positions, structures.pbc[0]
    cell = structures.cells[0] * pbc[:, None]
    ranges = [range(1)] * 3
    if pbc.any():
        height = 1.0 / np.linalg.norm(np.linalg.pinv(cell[pbc]), axis=0)
        fractions = positions @ np.linalg.pinv(cell[pbc])
        reach = np.ceil(cutoff_A / height + np.ptp(fractions, axis=0)).astype(int)
        for axis, n in zip(np.flatnonzero(pbc), reach, strict=True):
            ranges[axis] = range(-n, n + 1)
    images = np.array(list(product(*ranges)))
    found = {}
    for i, j in product(range(len(positions)), repeat=2):
        distances = np.linalg.norm(positions[j] - positions[i] + images @ cell, axis=1)
        for k in np.flatnonzero(distances < cutoff_A):
            shift = tuple(int(n) for n in images[k])
            if i < j or (i == j and shift > (0, 0, 0)):
                found[i, j, *shift] = distances[k]
    return found


def as_keys(pairs: NeighborPairs) -> list[tuple[int, ...]]:
    """(i, j, S) of each pair, turned so that i < j, or i = j with S > 0."""
    keys = []
    for i, j, shift in zip(pairs.first, pairs.second, pairs.shifts, strict=True):
        forward, backward = (i, j, *shift), (j, i, *-shift)
        keys.append(tuple(int(n) for n in max(forward, backward) if i == j))
        if i != j:
            keys[-1] = tuple(int(n) for n in min(forward, backward))
    return keys


def check_pairs(pairs: NeighborPairs, structures: Structures, cutoff_A: float) -> None:
    """`pairs` holds each pair of the brute-force sum once; only a pair at the very cutoff may be in or out."""
    found, expected = as_keys(pairs), brute_force_pairs(structures, cutoff_A + 1e-9)
    assert len(found) == len(set(found)), "a pair is listed twice"
    missing = [key for key, distance in expected.items() if distance < cutoff_A - 1e-9 and key not in set(found)]
    extra = [key for key in found if key not in expected]
    assert not missing and not extra, f"missing {missing[:3]}, not there {extra[:3]}"


def without(pairs: NeighborPairs, k: int) -> NeighborPairs:
    """All but pair k."""
    return NeighborPairs(*(np.delete(getattr(pairs, field.name), k, axis=0) for field in fields(pairs)))


def constant_pressure_walk(
    atoms: Atoms, steps: int, kick_A: float = 0.03, seed: int = 0, jumps: bool = True
) -> list[Atoms]:
    """Random displacements, strains that do not cancel, and now and then a jump by a lattice vector."""
    rng, walk, atoms = np.random.default_rng(seed), [], atoms.copy()
    drift = rng.normal(scale=1e-3, size=(3, 3))
    for step in range(steps):
        strain = np.eye(3) + drift + rng.normal(scale=1e-3, size=(3, 3))
        atoms.set_cell(atoms.cell.array @ strain)
        atoms.positions = atoms.positions @ strain + rng.normal(scale=kick_A, size=(len(atoms), 3))
        if jumps and step % 3 == 0:
            atoms.positions += rng.integers(-2, 3, size=(len(atoms), 3)) * atoms.pbc @ atoms.cell.array
        walk.append(atoms.copy())
    return walk


# Derivatives


def _slope(function: Callable[[float], float], step: float) -> float:
    """Central differences of fourth order."""
    return (8 * (function(step) - function(-step)) - (function(2 * step) - function(-2 * step))) / (12 * step)


def check_forces(evaluate: Evaluate, atoms: Atoms, chosen: tuple[int, ...] = (0,), step_A: float = 2e-3) -> None:
    """Forces are −∂E/∂r by central finite differences."""
    forces = evaluate(atoms).forces

    def energy(atom: int, axis: int, by: float) -> float:
        moved = atoms.copy()
        moved.positions[atom, axis] += by
        return float(evaluate(moved).energy[0])

    for atom, axis in product(chosen, range(3)):
        expected = -_slope(lambda by, atom=atom, axis=axis: energy(atom, axis, by), step_A)
        error = abs(forces[atom, axis] - expected)
        assert error < TOLERANCE["float64"]["difference"], f"force {axis} of atom {atom} is off by {error:.2g} eV/Å"


def check_stress(evaluate: Evaluate, atoms: Atoms, step: float = 3e-4) -> None:
    """Stress is (1/V) ∂E/∂ε by central finite differences, in the order xx yy zz yz xz xy."""
    stress = evaluate(atoms).stress[0]

    def energy(strain: np.ndarray) -> float:
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=False)
        moved.positions = atoms.positions @ (np.eye(3) + strain)
        return float(evaluate(moved).energy[0])

    for k, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        unit = np.zeros((3, 3))
        unit[a, b] += 0.5
        unit[b, a] += 0.5
        expected = _slope(lambda by, unit=unit: energy(by * unit), step) / atoms.get_volume()
        error = abs(stress[k] - expected)
        assert error < 0.01 * TOLERANCE["float64"]["difference"], f"stress {k} is off by {error:.2g} eV/Å³"


# Invariances


def check_supercell(evaluate: Evaluate, atoms: Atoms, dtype: str = "float64") -> None:
    """A 2 × 1 × 3 supercell has the same energies, forces and stress."""
    one, six = evaluate(atoms), evaluate(atoms * (2, 1, 3))
    tiled = Prediction(6 * one.energy, np.tile(one.energies, 6), np.tile(one.forces, (6, 1)), one.stress)
    assert_same(six, tiled, dtype)


def check_rotation(evaluate: Evaluate, atoms: Atoms, dtype: str = "float64") -> None:
    """Energies do not change when everything is turned or mirrored; forces turn along."""
    turn = -Rotation.from_rotvec([0.7, -0.4, 1.1]).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ turn)
    turned.positions = atoms.positions @ turn
    before, after = evaluate(atoms), evaluate(turned)
    assert_same(
        Prediction(after.energy, after.energies, after.forces),
        Prediction(before.energy, before.energies, before.forces @ turn),
        dtype,
    )


def check_permutation(evaluate: Evaluate, atoms: Atoms, dtype: str = "float64") -> None:
    """The order of the atoms does not matter."""
    order = np.random.default_rng(3).permutation(len(atoms))
    before, after = evaluate(atoms), evaluate(atoms[order])
    assert_same(after, Prediction(before.energy, before.energies[order], before.forces[order], before.stress), dtype)


def check_translation(evaluate: Evaluate, atoms: Atoms, dtype: str = "float64", by_A: float = 2.0**17) -> None:
    """Atoms may stand 10⁵ Å away; a power of two keeps the digits of the positions up to 2⁻³⁵ Å."""
    near = atoms.copy()
    near.positions = np.round(near.positions * 2.0**30) / 2.0**30
    far = near.copy()
    far.positions += [by_A, -by_A, by_A]
    assert_same(evaluate(far), evaluate(near), dtype)


def check_wrap(evaluate: Evaluate, atoms: Atoms, dtype: str = "float64") -> None:
    """Atoms may jump by lattice vectors along periodic directions."""
    jumps = np.random.default_rng(4).integers(-3, 4, size=(len(atoms), 3)) * atoms.pbc
    moved = atoms.copy()
    moved.positions += jumps @ atoms.cell.array
    assert_same(evaluate(moved), evaluate(atoms), dtype)


def check_split(evaluate: Evaluate, one: Atoms, other: Atoms, dtype: str = "float64", gap_A: float = 30.0) -> None:
    """Two fragments that do not touch have the energies and forces of each alone."""
    moved = other.copy()
    moved.positions += one.positions.max(axis=0) - other.positions.min(axis=0) + gap_A
    both, a, b = evaluate(one + moved), evaluate(one), evaluate(other)
    energies, forces = (np.concatenate([getattr(part, name) for part in (a, b)]) for name in ("energies", "forces"))
    assert_same(
        Prediction(both.energy, both.energies, both.forces), Prediction(a.energy + b.energy, energies, forces), dtype
    )


def check_smooth_at_cutoff(evaluate: Evaluate, cutoff_A: float, near: Atoms) -> None:
    """Energy, slope and curvature of an atom that arrives at `near` from afar start from zero at the cutoff.

    With E ∝ (r_c − r)³ or a higher power, the curvature falls at least tenfold when the distance to the cutoff does.
    """

    def force(inside_A: float) -> float:
        guest = near.positions[0] - [cutoff_A - inside_A, 0.0, 0.0]
        return float(evaluate(near + Atoms("Ru", [guest])).forces[-1, 0])

    def curvature(inside_A: float) -> float:
        step = inside_A / 20
        return abs(force(inside_A + step) - force(inside_A - step)) / (2 * step)

    assert force(-1e-9) == 0.0, "there is a force beyond the cutoff"
    outer, inner = curvature(1e-3), curvature(1e-2)
    assert inner > 1e-8, "there is nothing to be seen within the cutoff"
    assert outer < 0.15 * inner, (
        f"the curvature is {inner:.3g} and {outer:.3g} eV/Å² 0.01 and 0.001 Å inside the cutoff"
    )


def check_energy_is_conserved(evaluate: Evaluate, atoms: Atoms, timestep_fs: float = 2.0, steps: int = 16) -> None:
    """Velocity Verlet at 300 K: the error of the total energy is the integrator's, and falls fourfold with half a step.

    Forces that are not the slope of the energy leave an error that does not fall.
    """
    errors = [_energy_error_eV(evaluate, atoms, timestep_fs / cut, steps * cut) for cut in (1, 2)]
    assert errors[0] > 1e-9, "nothing moves"
    assert 3.0 < errors[0] / errors[1] < 5.0, f"errors are {errors[0]:.2g} and {errors[1]:.2g} eV"


def _energy_error_eV(evaluate: Evaluate, atoms: Atoms, timestep_fs: float, steps: int) -> float:
    """Largest deviation of the total energy from its start."""
    moved, step = atoms.copy(), timestep_fs * units.fs
    thermalize_momenta(moved, 300.0, rng=np.random.default_rng(5))
    velocities, mass = moved.get_velocities(), moved.get_masses()[:, None]
    now = evaluate(moved)
    totals = []
    for _ in range(steps):
        velocities = velocities + 0.5 * step * now.forces / mass
        moved.positions += step * velocities
        now = evaluate(moved)
        velocities = velocities + 0.5 * step * now.forces / mass
        totals.append(float(now.energy[0]) + 0.5 * float((mass * velocities**2).sum()))
    start = float(evaluate(atoms).energy[0]) + 0.5 * float((mass * moved.get_velocities() ** 2).sum())
    return max(abs(total - start) for total in totals)
