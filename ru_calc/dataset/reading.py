"""How files of frames are read: layout, columns of labels, units and signs."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ase.data import chemical_symbols

from ru_calc.dataset.label_units import DIMENSIONS, unit_of
from ru_calc.errors import require

SIGNS = {"forces_sign": ("force", "gradient"), "stress_sign": ("ase", "vasp"), "stress_order": ("ase", "vasp")}
NONE = "none"  # in place of a column: the label is left out


@dataclass(frozen=True)
class Reading:
    """How files are read.  What is None or empty is found out from the file.

    Attributes:
        format: layout, see `ru_calc.dataset.layouts.FORMATS`, or a format of ASE.
        elements: element of each atom type, for files that number them.
        energy_key, forces_key, stress_key, virial_key: columns of a label, the first that a frame has; `none` leaves
            the label out.
        energy_unit, length_unit, forces_unit, stress_unit, virial_unit: see `ru_calc.dataset.label_units`.
        energy_per_atom: energies are per atom, not of the frame.
        forces_sign: `force`, or `gradient`: the energy's, with the other sign.
        stress_sign: `ase` if tension is positive, `vasp` if compression is.
        stress_order: of 6 numbers, `ase` (xx yy zz yz xz xy) or `vasp` (xx yy zz xy yz xz).

    Raises:
        SettingsError: no such unit, element or choice.
    """

    format: str | None = None
    elements: tuple[str, ...] = ()
    energy_key: tuple[str, ...] = ()
    forces_key: tuple[str, ...] = ()
    stress_key: tuple[str, ...] = ()
    virial_key: tuple[str, ...] = ()
    energy_unit: str | None = None
    length_unit: str | None = None
    forces_unit: str | None = None
    stress_unit: str | None = None
    virial_unit: str | None = None
    energy_per_atom: bool = False
    forces_sign: str = "force"
    stress_sign: str = "ase"
    stress_order: str | None = None

    def __post_init__(self) -> None:
        for quantity in DIMENSIONS:
            given = getattr(self, f"{quantity}_unit")
            if given is not None:
                unit_of(quantity, given)
        for name, known in SIGNS.items():
            value = getattr(self, name)
            require(value is None or value in known, name, repr(value), f"one of {', '.join(known)}")
        for element in self.elements:
            require(element in chemical_symbols[1:], "elements", repr(element), "symbols of elements, such as Ru")

    def keys(self, label: str) -> tuple[str, ...]:
        """Columns that were asked for."""
        return tuple(getattr(self, f"{label}_key"))

    @property
    def changed(self) -> bool:
        """Whether anything is given."""
        return any(getattr(self, field.name) != field.default for field in fields(self))
