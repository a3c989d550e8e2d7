"""All properties of a model in one call; one that fails is reported, and the others are still computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property, partial

import numpy as np
from ase.calculators.calculator import Calculator

from ru_calc.errors import reason
from ru_calc.properties.bulk import HcpLattice, energy_at_volume, equation_of_state, equilibrium_volume, relaxed_hcp
from ru_calc.properties.defects import hcp_vacancy
from ru_calc.properties.elastic import hcp_elastic_constants
from ru_calc.properties.molecules import dimer, isolated_atom_energy
from ru_calc.properties.ordering import phase_order
from ru_calc.properties.phonons import gamma_phonons, lowest_frequency_THz, require_phonopy
from ru_calc.properties.surfaces import basal_surface
from ru_calc.structures.lattices import phase_named

NAMES = {
    "a": ("lattice parameter a", "Å"),
    "c": ("lattice parameter c", "Å"),
    "c/a": ("axial ratio", ""),
    "V0": ("volume", "Å³/atom"),
    "E_hcp": ("energy of hcp", "eV/atom"),
    "B": ("bulk modulus", "GPa"),
    "B_prime": ("dB/dp", ""),
    "C11": ("elastic constant", "GPa"),
    "C12": ("elastic constant", "GPa"),
    "C13": ("elastic constant", "GPa"),
    "C33": ("elastic constant", "GPa"),
    "C44": ("elastic constant", "GPa"),
    "E2g": ("optical phonon at Γ", "THz"),
    "B1g": ("optical phonon at Γ", "THz"),
    "nu_min": ("lowest phonon", "THz"),
    "dhcp-hcp": ("dhcp above hcp", "meV/atom"),
    "fcc-hcp": ("fcc above hcp", "meV/atom"),
    "omega-hcp": ("omega above hcp", "meV/atom"),
    "a15-hcp": ("A15 above hcp", "meV/atom"),
    "bcc-hcp": ("bcc above hcp", "meV/atom"),
    "diamond-hcp": ("diamond above hcp", "meV/atom"),
    "sc-hcp": ("sc above hcp", "meV/atom"),
    "hcp margin": ("hcp leads, V ± 10 %", "meV/atom"),
    "E_vac": ("vacancy formation", "eV"),
    "gamma_0001": ("surface energy (0001)", "J/m²"),
    "gamma_0001_unrelaxed": ("same, unrelaxed", "J/m²"),
    "d12": ("top layer spacing d12", "%"),
    "d23": ("next spacing d23", "%"),
    "E_atom": ("free atom", "eV"),
    "E_coh": ("cohesive energy", "eV/atom"),
    "r_e": ("dimer distance", "Å"),
    "D_e": ("dimer depth", "eV"),
}
ABOVE_HCP = ("dhcp", "fcc", "omega", "a15", "bcc", "diamond", "sc")
QUICK_ABOVE_HCP = ("fcc", "bcc")


@dataclass(frozen=True)
class Property:
    """A property of a model.

    Attributes:
        name, symbol, unit: what it is; `symbol` finds its reference values.
        value: None if it could not be computed.
        failure: the reason then; otherwise empty.
    """

    name: str
    symbol: str
    value: float | None
    unit: str
    failure: str = ""


Measure = Callable[[], Sequence[float]]


@dataclass
class _Model:
    """The measurements of a model; each gives the values of the symbols beside it in `_measurements`."""

    calculator: Calculator
    quick: bool

    @cached_property
    def hcp(self) -> HcpLattice:
        return relaxed_hcp(self.calculator)

    def lattice(self) -> Sequence[float]:
        hcp = self.hcp
        return hcp.a_A, hcp.c_A, hcp.c_over_a, hcp.volume_A3, hcp.energy_eV

    def elastic_constants(self) -> Sequence[float]:
        return astuple(hcp_elastic_constants(self.hcp, self.calculator))

    def bulk_modulus(self) -> Sequence[float]:
        fit = equation_of_state("hcp", self.calculator, self.hcp)
        return fit.B_GPa, fit.B_prime

    def optical_phonons(self) -> Sequence[float]:
        modes = gamma_phonons(self.hcp, self.calculator)
        return modes.E2g_THz, modes.B1g_THz

    def lowest_phonon(self) -> Sequence[float]:
        return (lowest_frequency_THz(self.hcp, self.calculator),)

    def margin(self) -> Sequence[float]:
        order = phase_order(self.calculator, self.hcp, points=5 if self.quick else 11)
        return (1000 * order.margin_eV(),)

    def above_hcp(self, phase: str) -> Sequence[float]:
        start = self.hcp.volume_A3 * phase_named(phase).volume_ratio
        volume = equilibrium_volume(phase, self.calculator, start)
        return (1000 * (energy_at_volume(phase, volume, self.calculator) - self.hcp.energy_eV),)

    def vacancy(self) -> Sequence[float]:
        return (hcp_vacancy(self.hcp, self.calculator, (3, 3, 2) if self.quick else (4, 4, 3)).relaxed_eV,)

    def surface(self) -> Sequence[float]:
        found = basal_surface(self.hcp, self.calculator, layers=10 if self.quick else 12)
        return found.gamma_unrelaxed_J_per_m2, found.gamma_J_per_m2, found.d12_percent, found.d23_percent

    def atom(self) -> Sequence[float]:
        energy = isolated_atom_energy(self.calculator)
        return energy, energy - self.hcp.energy_eV

    def dimer(self) -> Sequence[float]:
        return astuple(dimer(self.calculator))


def all_properties(
    calculator: Calculator, quick: bool = False, phonons: bool = False, only: Collection[str] | None = None
) -> list[Property]:
    """The properties of `NAMES`, in that order.

    Args:
        calculator: any ASE calculator for ruthenium with energy, forces and stress.
        quick: leave out expensive properties without a target, and use 36 sites instead of 96 for the vacancy, 10
            layers instead of 12 for the surface, 5 volumes instead of 11 for the phase order.
        phonons: also the lowest phonon frequency of the whole zone (needs phonopy).
        only: symbols of the properties needed; others computed along with them are returned too.

    Raises:
        SettingsError: phonopy is needed and not installed; raised before anything is computed.
    """
    if phonons:
        require_phonopy()
    found: dict[str, Property] = {}
    for symbols, measure in _measurements(_Model(calculator, quick), phonons).items():
        if only is None or {*symbols} & {*only}:
            found |= {prop.symbol: prop for prop in _guarded(symbols, measure)}
    return [found[symbol] for symbol in NAMES if symbol in found]


def _measurements(model: _Model, phonons: bool) -> dict[tuple[str, ...], Measure]:
    chosen: dict[tuple[str, ...], Measure] = {
        ("a", "c", "c/a", "V0", "E_hcp"): model.lattice,
        ("C11", "C12", "C13", "C33", "C44"): model.elastic_constants,
        ("E2g", "B1g"): model.optical_phonons,
        ("hcp margin",): model.margin,
        ("E_vac",): model.vacancy,
        ("gamma_0001_unrelaxed", "gamma_0001", "d12", "d23"): model.surface,
        ("E_atom", "E_coh"): model.atom,
    }
    if not model.quick:
        chosen |= {("B", "B_prime"): model.bulk_modulus, ("r_e", "D_e"): model.dimer}
    if phonons:
        chosen["nu_min",] = model.lowest_phonon
    phases = QUICK_ABOVE_HCP if model.quick else ABOVE_HCP
    return chosen | {(f"{phase}-hcp",): partial(model.above_hcp, phase) for phase in phases}


def _guarded(symbols: tuple[str, ...], measure: Measure) -> list[Property]:
    values: Sequence[float] = [np.nan] * len(symbols)
    failure = ""
    try:
        with np.errstate(all="ignore"):
            values = measure()
    except Exception as problem:  # a bad model may fail in any way, and must not stop the other properties
        failure = reason(problem)
    properties = []
    for symbol, value in zip(symbols, values, strict=True):
        name, unit = NAMES[symbol]
        fine = bool(np.isfinite(value))
        why = "" if fine else failure or f"the result is {value}"
        properties.append(Property(name, symbol, float(value) if fine else None, unit, why))
    return properties
