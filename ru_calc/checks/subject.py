"""What is checked: a model as it runs here, and the structures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from ru_calc.calculator import RuCalculator
from ru_calc.devices import resolve_device
from ru_calc.predictor import WANTED, Prediction
from ru_calc.structures import Structures


@dataclass(frozen=True)
class Subject:
    """A model on a device, and the structures on which it is checked.

    Attributes:
        model, device, dtype, engine, threads: see `RuCalculator`.
        structures: atoms by name.
    """

    model: str
    structures: Mapping[str, Atoms]
    device: str = "auto"
    dtype: str = "float64"
    engine: str = "auto"
    threads: int = 1
    _made: dict[tuple[Any, ...], RuCalculator] = field(default_factory=dict)

    def calculator(self, dtype: str = "", engine: str = "", threads: int = 0) -> RuCalculator:
        """A calculator, always the same for the same arguments; without them, as the subject says."""
        key = (dtype or self.dtype, engine or self.engine, threads or self.threads)
        if key not in self._made:
            self._made[key] = RuCalculator(
                self.model, self.device, dtype=key[0], threads=key[2], engine=key[1], non_conservative=True
            )
        return self._made[key]

    def evaluate(self, atoms: Atoms) -> Prediction:
        """By the calculator in the precision of the subject, as a user's program would."""
        return evaluate(self.calculator(), atoms)

    def precisely(self, atoms: Atoms) -> Prediction:
        """The same in float64, for differences that rounding would hide."""
        return evaluate(self.calculator("float64"), atoms)

    def predict(self, frames: Sequence[Atoms]) -> Prediction:
        """Many frames at once in float64."""
        return self.calculator("float64").predictor.predict(frames, None, self.wanted)

    @property
    def wanted(self) -> tuple[str, ...]:
        """All that a predictor gives."""
        return WANTED if self.conservative else WANTED[:3]

    @property
    def conservative(self) -> bool:
        """Whether forces are slopes of the energy."""
        return bool(self.calculator().header["conservative"])

    @property
    def compiled(self) -> bool:
        """Whether the compiled engine runs."""
        return self.calculator().engine == "compiled"

    @property
    def device_used(self) -> str:
        """The device, where `auto` was asked for."""
        return resolve_device(self.device)


def evaluate(calculator: RuCalculator, atoms: Atoms) -> Prediction:
    """Energies, forces and, where there is a volume, stress by a calculator."""
    conservative = calculator.header["conservative"]
    stress = calculator.get_property("stress", atoms)[None] if conservative and has_stress(atoms) else None
    forces, energies = (calculator.get_property(name, atoms) for name in ("forces", "energies"))
    return Prediction(np.array([calculator.get_property("energy", atoms)]), energies, forces, stress)


def has_stress(atoms: Atoms) -> bool:
    """Whether the cell has a volume."""
    return bool(np.isfinite(Structures.from_atoms(atoms).volumes[0]))
