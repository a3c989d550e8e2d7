"""All properties of a model in one call; one that fails is reported, and the others are still computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import astuple, dataclass
from functools import cache, partial

import numpy as np
from ase.calculators.calculator import Calculator

from ru_calc.errors import reason
from ru_calc.properties.bulk import (
    HcpLattice,
    energy_at_volume,
    equation_of_state,
    equilibrium_volume,
    phase_order,
    relaxed_hcp,
)
from ru_calc.properties.defects import basal_surface, hcp_vacancy, unrelaxed_vacancy_eV
from ru_calc.properties.elastic import hcp_elastic_constants
from ru_calc.properties.energies import dimer, isolated_atom_energy
from ru_calc.properties.phonons import gamma_phonons, lowest_frequency_THz, require_phonopy
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
    "E_vac_unrelaxed": ("same, unrelaxed, 36 sites", "eV"),
    "gamma_0001": ("surface energy (0001)", "J/m²"),
    "gamma_0001_unrelaxed": ("same, unrelaxed", "J/m²"),
    "d12": ("top layer spacing d12", "%"),
    "d23": ("next spacing d23", "%"),
    "E_atom": ("free atom", "eV"),
    "E_coh": ("cohesive energy", "eV/atom"),
    "r_e": ("dimer distance", "Å"),
    "D_e": ("dimer depth", "eV"),
    "D_barrier": ("dimer barrier", "eV"),
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


def all_properties(
    calculator: Calculator, quick: bool = False, phonons: bool = False, only: Collection[str] | None = None
) -> list[Property]:
    """The properties of `NAMES`, in that order.

    Args:
        calculator: any ASE calculator for ruthenium with energy, forces and stress.
        quick: leave out expensive properties without a target, and use 36 sites instead of 96 for the relaxed
            vacancy, 10 layers instead of 12 for the surface, 5 volumes instead of 11 for the phase order.
        phonons: also the lowest phonon frequency of the whole zone (needs phonopy).
        only: symbols of the properties needed; others computed along with them are returned too.

    Raises:
        SettingsError: phonopy is needed and not installed; raised before anything is computed.
    """
    if phonons:
        require_phonopy()
    found: dict[str, Property] = {}
    for symbols, measure in _measurements(calculator, quick, phonons).items():
        if only is None or {*symbols} & {*only}:
            found |= {prop.symbol: prop for prop in _guarded(symbols, measure)}
    return [found[symbol] for symbol in NAMES if symbol in found]


def _measurements(calculator: Calculator, quick: bool, phonons: bool) -> dict[tuple[str, ...], Measure]:
    """What gives the values of which symbols."""

    @cache
    def hcp() -> HcpLattice:
        return relaxed_hcp(calculator)

    def lattice() -> Sequence[float]:
        return hcp().a_A, hcp().c_A, hcp().c_over_a, hcp().volume_A3, hcp().energy_eV

    def bulk_modulus() -> Sequence[float]:
        fit = equation_of_state("hcp", calculator, hcp())
        return fit.B_GPa, fit.B_prime

    def above_hcp(phase: str) -> Sequence[float]:
        volume = equilibrium_volume(phase, calculator, hcp().volume_A3 * phase_named(phase).volume_ratio)
        return (1000 * (energy_at_volume(phase, volume, calculator) - hcp().energy_eV),)

    def surface() -> Sequence[float]:
        found = basal_surface(hcp(), calculator, layers=10 if quick else 12)
        return found.gamma_unrelaxed_J_per_m2, found.gamma_J_per_m2, found.d12_percent, found.d23_percent

    def atom() -> Sequence[float]:
        energy = isolated_atom_energy(calculator)
        return energy, energy - hcp().energy_eV

    chosen: dict[tuple[str, ...], Measure] = {
        ("a", "c", "c/a", "V0", "E_hcp"): lattice,
        ("C11", "C12", "C13", "C33", "C44"): lambda: astuple(hcp_elastic_constants(hcp(), calculator)),
        ("E2g", "B1g"): lambda: astuple(gamma_phonons(hcp(), calculator))[:2],
        ("hcp margin",): lambda: (1000 * phase_order(calculator, hcp(), points=5 if quick else 11).margin_eV(),),
        ("E_vac",): lambda: (hcp_vacancy(hcp(), calculator, (3, 3, 2) if quick else (4, 4, 3)).relaxed_eV,),
        ("gamma_0001_unrelaxed", "gamma_0001", "d12", "d23"): surface,
        ("E_vac_unrelaxed",): lambda: (unrelaxed_vacancy_eV(calculator),),
        ("E_atom", "E_coh"): atom,
        ("r_e", "D_e", "D_barrier"): lambda: astuple(dimer(calculator)),
    }
    if not quick:
        chosen["B", "B_prime"] = bulk_modulus
    if phonons:
        chosen["nu_min",] = lambda: (lowest_frequency_THz(hcp(), calculator),)
    phases = QUICK_ABOVE_HCP if quick else ABOVE_HCP
    return chosen | {(f"{phase}-hcp",): partial(above_hcp, phase) for phase in phases}


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
