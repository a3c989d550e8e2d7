"""The lines of `ru-calc check`: each measures one claim on one model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from ase import Atoms

from ru_calc.checks import core, dynamics, invariance
from ru_calc.checks.derivatives import cutoff_curvature, force_error, stress_error
from ru_calc.checks.images import wrong_pairs
from ru_calc.checks.structures import crystal
from ru_calc.checks.subject import Subject, evaluate, has_stress
from ru_calc.checks.tolerance import UNITS, Figure, deviations, worst
from ru_calc.checks.walks import constant_pressure_walk
from ru_calc.predictor import Prediction
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs

REPEAT = (2, 1, 3)
MOST_ATOMS_OF_REFERENCE = 1000
WALK_STEPS, KICK_A = 12, 0.05
ATOMS_PER_THREAD = 64  # with fewer, the engine uses fewer threads
DRIFT_ATOMS = 36


class Skipped(Exception):
    """A line that does not apply to the subject; the message says why."""


Check = Callable[[Subject], Figure]


def model_file(subject: Subject) -> Figure:
    """Header and weights have the hash that is in the file, and predictions of golden structures are those in it."""
    from ru_calc.modelfiles.golden import golden_errors
    from ru_calc.modelfiles.read import read_model_file

    file = read_model_file(subject.model)  # which holds the hash against header and weights
    errors = golden_errors(subject.calculator("float64").predictor, file.header)
    figures = [
        Figure(float(error), float(allowed), UNITS[quantity], f"golden {quantity}")
        for quantity, arrays in errors.items()
        for error, allowed in zip(*map(np.ravel, np.broadcast_arrays(*arrays)), strict=True)
    ]
    return worst(figures).at(f"sha256 {file.sha256[:12]}")


def forces(subject: Subject) -> Figure:
    """Forces are −∂E/∂r, by finite differences in float64."""
    _needs_slopes(subject)
    return worst(force_error(subject.precisely, atoms).at(name) for name, atoms in subject.structures.items())


def stress(subject: Subject) -> Figure:
    """Stress is (1/V) ∂E/∂ε, by finite differences in float64."""
    _needs_slopes(subject)
    filled = {name: atoms for name, atoms in subject.structures.items() if has_stress(atoms)}
    if not filled:
        raise Skipped("stress needs a cell with a volume")
    return worst(stress_error(subject.precisely, atoms).at(name) for name, atoms in filled.items())


def extensive(subject: Subject) -> Figure:
    """Supercells, and fragments that do not touch, have the energies, forces and stress of their parts."""

    def two(atoms: Atoms) -> invariance.Two:
        if not atoms.pbc.any():
            return invariance.fragments(subject.evaluate, atoms, Atoms("Ru2", [[0, 0, 0], [2.1, 0.3, -0.4]]))
        repeat = np.where(atoms.pbc, REPEAT if atoms.pbc[[0, 2]].any() else 2, 1)
        return invariance.supercell(subject.evaluate, atoms, tuple(map(int, repeat)))

    return _worst(subject, two)


def rotation(subject: Subject) -> Figure:
    """Energies do not change under rotation and reflection; forces and stress turn along."""
    _needs_slopes(subject)
    return _worst(subject, lambda atoms: invariance.rotation(subject.evaluate, atoms))


def permutation(subject: Subject) -> Figure:
    """The order of the atoms does not matter."""
    return _worst(subject, lambda atoms: invariance.permutation(subject.evaluate, atoms))


def translation(subject: Subject) -> Figure:
    """The origin does not matter."""
    return _worst(subject, lambda atoms: invariance.translation(subject.evaluate, atoms))


def far_from_origin(subject: Subject) -> Figure:
    """Atoms may stand 10⁵ Å away."""
    return _worst(subject, lambda atoms: invariance.far_away(subject.evaluate, atoms))


def wrapping(subject: Subject) -> Figure:
    """Atoms may lie in any image of the cell."""
    periodic = {name: atoms for name, atoms in subject.structures.items() if atoms.pbc.any()}
    if not periodic:
        raise Skipped("nothing is periodic")
    return _worst(replace(subject, structures=periodic), lambda a: invariance.unwrapped(subject.evaluate, a))


def cutoff(subject: Subject) -> Figure:
    """Energy, force and curvature start from zero at the cutoff: of a dimer, and of an atom that meets a cluster."""
    _needs_slopes(subject)
    cluster = crystal(8)
    cluster.pbc, cluster.cell = False, np.zeros((3, 3))
    near = {"dimer": Atoms("Ru"), "cluster": cluster[np.argsort(cluster.positions[:, 0])]}
    cutoff_A = subject.calculator().cutoff_A
    return worst(cutoff_curvature(subject.precisely, cutoff_A, atoms).at(name) for name, atoms in near.items())


def neighbor_list(subject: Subject) -> Figure:
    """The neighbour list holds the pairs of a sum over all images, each once."""
    cutoff_A, figures = subject.calculator().cutoff_A, []
    for name, atoms in _few_atoms(subject, 200, "a sum over all images takes too long").items():
        one = Structures.from_atoms(atoms)
        wrong = wrong_pairs(find_pairs(one, cutoff_A), one, cutoff_A)
        figures.append(Figure(len(wrong), 0, "pairs", "wrong pairs", name))
    return max(figures, key=lambda figure: figure.value)


def engine(subject: Subject) -> Figure:
    """The engine gives what the network itself gives, in float64; dimers meet every row of the tables."""
    from ru_calc.modelfiles.open import obstacle
    from ru_calc.modelfiles.read import read_model_file

    if not subject.compiled:
        raise Skipped(obstacle(read_model_file(subject.model), subject.device_used) or "the reference was asked for")
    compiled, reference = (subject.calculator("float64", name).predictor for name in ("compiled", "reference"))
    frames = _few_atoms(subject, MOST_ATOMS_OF_REFERENCE, "the reference takes too long")
    rows = np.linspace(core.NEAREST_A, compiled.cutoff_A, 2 * compiled.intervals)  # type: ignore[attr-defined]
    figures = [
        figure.at(name)
        for name, atoms in {**{name: [atoms] for name, atoms in frames.items()}, "dimers": core.dimers(rows)}.items()
        for figure in deviations(compiled.predict(atoms), reference.predict(atoms), "float64 tables")
    ]
    return worst(figures)


def precision(subject: Subject) -> Figure:
    """Float32 differs from float64 by no more than rounding."""
    single, double = subject.calculator("float32"), subject.calculator("float64")
    row = "float32 tables" if subject.compiled else "float32"
    return _worst(subject, lambda atoms: (evaluate(single, atoms), evaluate(double, atoms)), row)


def skin(subject: Subject) -> Figure:
    """A neighbour list with a skin gives what a fresh list gives, while atoms and cell walk at random."""
    predictor = subject.calculator().predictor

    def figures() -> Iterator[Figure]:
        for name, atoms in subject.structures.items():
            for moved in constant_pressure_walk(atoms, WALK_STEPS, KICK_A):
                found = subject.evaluate(moved)
                fresh = predictor.predict([moved], find_pairs(Structures.from_atoms(moved), predictor.cutoff_A))
                yield from (figure.at(name) for figure in deviations(found, _like(fresh, found), subject.dtype))

    return worst(figures())


def batch(subject: Subject) -> Figure:
    """Many frames at once give what each gives alone."""
    predictor, frames = subject.calculator().predictor, list(subject.structures.values())
    frames = frames if len(frames) > 1 else [*frames, Atoms("Ru"), *frames]
    single = [predictor.predict([atoms], None, subject.wanted) for atoms in frames]
    joined = {name: np.concatenate([getattr(one, name) for one in single]) for name in subject.wanted}
    return worst(deviations(predictor.predict(frames, None, subject.wanted), Prediction(**joined), subject.dtype))


def threads(subject: Subject) -> Figure:
    """Several threads give what one gives."""
    if subject.device_used != "cpu":
        raise Skipped("threads do not compute on a device")
    many = max(2, subject.threads)
    atoms = crystal(many * ATOMS_PER_THREAD)
    one, several = (evaluate(subject.calculator(threads=n), atoms) for n in (1, many))
    return worst(deviations(several, one, subject.dtype)).at(f"{len(atoms)} atoms, {many} threads")


def drift(subject: Subject) -> Figure:
    """Energy is conserved in NVE dynamics of hcp at 300 K with steps of 2 fs."""
    _needs_slopes(subject)
    atoms = crystal(DRIFT_ATOMS)
    return dynamics.drift(subject.evaluate, atoms).at(f"{len(atoms)} atoms")


def repulsion(subject: Subject) -> Figure:
    """From 0.5 to 1.8 Å atoms push each other apart, and all is finite."""
    return core.repulsion(subject.predict, subject.precisely)


def smooth_core(subject: Subject) -> Figure:
    """From 0.5 to 1.8 Å the energy of a dimer is the work of its force, without steps or kinks."""
    _needs_slopes(subject)
    return core.roughness(subject.predict)


CHECKS: dict[str, Check] = {
    "model file": model_file,
    "forces by finite differences": forces,
    "stress by finite differences": stress,
    "supercell": extensive,
    "rotation": rotation,
    "permutation": permutation,
    "translation": translation,
    "wrapped and unwrapped": wrapping,
    "far from the origin": far_from_origin,
    "smooth at the cutoff": cutoff,
    "neighbors against all images": neighbor_list,
    "engine against reference": engine,
    "float32 against float64": precision,
    "skin against a fresh list": skin,
    "batch against single": batch,
    "threads": threads,
    "NVE drift": drift,
    "repulsive core": repulsion,
    "smooth core": smooth_core,
}


def _needs_slopes(subject: Subject) -> None:
    if not subject.conservative:
        raise Skipped("its forces are an output of the network, not slopes of the energy")


def _few_atoms(subject: Subject, most: int, reason: str) -> dict[str, Atoms]:
    few = {name: atoms for name, atoms in subject.structures.items() if len(atoms) <= most}
    if not few:
        raise Skipped(f"for more than {most} atoms {reason}")
    return few


def _worst(subject: Subject, two: Callable[[Atoms], invariance.Two], row: str = "") -> Figure:
    """Of all structures, what two evaluations that should agree differ by."""
    return worst(
        figure.at(name)
        for name, atoms in subject.structures.items()
        for figure in deviations(*two(atoms), row or subject.dtype)
    )


def _like(prediction: Prediction, other: Prediction) -> Prediction:
    """Without the stress, where the other has none."""
    return prediction if other.stress is not None else replace(prediction, stress=None)
