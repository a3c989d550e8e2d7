"""The labels of a frame, from whatever columns hold them, in eV and Å."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms

from ru_calc.dataset.columns import Column, chosen, columns_of, left_out
from ru_calc.dataset.declared import UnitsOfFrame
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError
from ru_calc.structures import has_volume
from ru_calc.units import from_voigt, to_voigt

# Where VASP's order xx yy zz xy yz xz has the entries of ASE's.
FROM_VASP = [0, 1, 2, 4, 5, 3]
SAME_STRESS = (2e-3, 2e-4)  # relative; eV/Å³
ASE = Reading()


@dataclass(frozen=True)
class FrameLabels:
    """Labels of one frame.

    Attributes:
        values: of energy () in eV, forces (n, 3) in eV/Å and stress (6,) in eV/Å³ those that are there.
        columns: where each was found, by `energy`, `forces`, `stress` or `virial`.
        ignored: columns that look like a label but were not taken, and the label that each looks like.
        length: factor of its lengths to Å.
        no_volume: there is a stress, but the frame is not periodic in three directions: it is left out.
        masked: forces of all fixed atoms are exactly 0, so they are probably not the raw ones.
    """

    values: dict[str, np.ndarray]
    columns: dict[str, str]
    ignored: dict[str, str] = field(default_factory=dict)
    length: float = 1.0
    no_volume: bool = False
    masked: bool = False


def labels_of(atoms: Atoms, reading: Reading = ASE, where: str = "") -> FrameLabels:
    """The labels of a frame; see `ru_calc.dataset.columns` for the names and their order.

    Args:
        atoms: one frame, as `ase.io` or a reader of `ru_calc.dataset.layouts` reads it.
        reading: columns, units and signs.
        where: put in front of every message.

    Raises:
        DataError: a label that is no number, has another shape or is not finite; units that cannot be honoured; stress
            and virial that contradict each other.
    """
    columns = columns_of(atoms)
    taken = chosen(columns, reading)
    ignored = {
        name: label for name, label in left_out(columns, taken, len(atoms)).items()
        if not _repeats(columns[name], columns[taken[label]] if label in taken else None)
    }  # fmt: skip
    no_volume = not has_volume(atoms) and bool({"stress", "virial"} & taken.keys())
    if no_volume:
        taken = {label: name for label, name in taken.items() if label in ("energy", "forces")}
    factors = UnitsOfFrame(atoms.info, reading, where).factors(taken)
    values = {}
    for label, name in taken.items():
        value = _numbers(columns[name], label, name, len(atoms), where)
        if value.shape == (6,):
            value = from_voigt(_ordered(value, columns[name], label, reading, where))
        values[label] = value * factors[label] * _sign(label, reading)
    if reading.energy_per_atom and "energy" in values:
        values["energy"] = values["energy"] * len(atoms)
    values = _with_stress(values, taken, abs(np.linalg.det(atoms.cell.array * factors["length"])), where)
    return FrameLabels(values, taken, ignored, factors["length"], no_volume, _masked(atoms, values))


def _repeats(column: Column, other: Column | None) -> bool:
    """Whether a column holds the very numbers of another, so that nothing is lost with it."""
    if other is None:
        return False
    try:
        return bool(np.array_equal(np.asarray(column.value, dtype=float), np.asarray(other.value, dtype=float)))
    except (TypeError, ValueError):
        return False


def _numbers(column: Column, label: str, name: str, n_atoms: int, where: str) -> np.ndarray:
    expected: dict[str, list[tuple[int, ...]]] = {"energy": [(), (1,)], "forces": [(n_atoms, 3), (3 * n_atoms,)]}
    shapes = expected.get(label, [(6,), (3, 3), (9,)])
    named = name if name == label else f"{label} ({name})"
    try:
        if isinstance(column.value, bool | np.bool_):
            raise ValueError
        value = np.asarray(column.value, dtype=float)
    except (TypeError, ValueError):
        raise DataError(
            f"{where}its {named} is {_short(column.value)}, not {'a number' if label == 'energy' else 'numbers'}; "
            f"correct it, remove the frame, or leave it out with --{label}-key none"
        ) from None
    if value.shape not in shapes:
        raise DataError(f"{where}the shape of its {named} is {value.shape}; it must be {_words(shapes)}")
    if not np.isfinite(value).all():
        raise DataError(f"{where}non-finite values in its {named}; remove the frame or the label")
    if label == "energy":
        return value.reshape(())
    return value.reshape({"forces": (n_atoms, 3)}.get(label, value.shape if value.size == 6 else (3, 3)))


def _words(shapes: list[tuple[int, ...]]) -> str:
    return " or ".join(map(str, shapes))


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) < 60 else f"{text[:57]}…"


def _ordered(value: np.ndarray, column: Column, label: str, reading: Reading, where: str) -> np.ndarray:
    """Six numbers in ASE's order."""
    if column.result or reading.stress_order == "ase":
        return value
    if reading.stress_order == "vasp":
        return value[FROM_VASP]
    raise DataError(
        f"{where}its {label} has 6 numbers, and codes differ in their order: say --stress-order ase "
        f"(xx yy zz yz xz xy) or vasp (xx yy zz xy yz xz), or leave it out with --{label}-key none"
    )


def _sign(label: str, reading: Reading) -> float:
    turned = (label == "forces" and reading.forces_sign == "gradient") or (
        label == "stress" and reading.stress_sign == "vasp"
    )
    return -1.0 if turned else 1.0


def _with_stress(
    values: dict[str, np.ndarray], taken: Mapping[str, str], volume: float, where: str
) -> dict[str, np.ndarray]:
    """The values with one stress, that of the virial where there is no other."""
    values = dict(values)
    virial, stress = values.pop("virial", None), values.get("stress")
    if virial is not None:
        of_virial = -virial / volume
        if stress is not None and not np.allclose(stress, of_virial, *SAME_STRESS):
            raise DataError(
                f"{where}its stress ({taken['stress']}, {np.trace(stress) / 3:.4g} eV/Å³ in the mean) is not -virial/V "
                f"({taken['virial']}, {np.trace(of_virial) / 3:.4g} eV/Å³): give --stress-unit or --stress-sign, or "
                "leave one of them out with --stress-key none or --virial-key none"
            )
        stress = of_virial if stress is None else stress
    if stress is not None:
        values["stress"] = to_voigt(stress)
    return values


def _masked(atoms: Atoms, values: Mapping[str, np.ndarray]) -> bool:
    fixed = [one.index for one in atoms.constraints if isinstance(one, FixAtoms)]
    if not fixed or "forces" not in values:
        return False
    of_fixed = values["forces"][np.concatenate(fixed)]
    return bool(not of_fixed.any() and values["forces"].any())
