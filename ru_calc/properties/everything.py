"""All properties of a model in one call; one that fails is reported, and the others are still computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

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


@dataclass
class _Bench:
    calculator: Calculator
    quick: bool

    @cached_property
    def hcp(self) -> HcpLattice:
        return relaxed_hcp(self.calculator)


Measurement = Callable[[_Bench], Mapping[str, float]]


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
    bench = _Bench(calculator, quick)
    found: dict[str, Property] = {}
    for symbols, measure in _measurements(quick, phonons):
        if only is not None and not {*symbols} & {*only}:
            continue
        found |= {prop.symbol: prop for prop in _guarded(symbols, measure, bench)}
    return [found[symbol] for symbol in NAMES if symbol in found]


def _guarded(symbols: tuple[str, ...], measure: Measurement, bench: _Bench) -> list[Property]:
    values: Mapping[str, float] = {}
    failure = ""
    try:
        with np.errstate(all="ignore"):
            values = measure(bench)
    except Exception as problem:  # a bad model may fail in any way, and must not stop the other properties
        failure = reason(problem)
    properties = []
    for symbol in symbols:
        name, unit = NAMES[symbol]
        value = float(values.get(symbol, np.nan))
        if np.isfinite(value):
            properties.append(Property(name, symbol, value, unit))
        else:
            properties.append(Property(name, symbol, None, unit, failure or f"the result is {value}"))
    return properties


def _measurements(quick: bool, phonons: bool) -> list[tuple[tuple[str, ...], Measurement]]:
    chosen: list[tuple[tuple[str, ...], Measurement]] = [
        (("a", "c", "c/a", "V0", "E_hcp"), _lattice),
        (("C11", "C12", "C13", "C33", "C44"), _elastic),
        (("E2g", "B1g"), _gamma),
        (("hcp margin",), _margin),
        (("E_vac",), _vacancy),
        (("gamma_0001_unrelaxed", "gamma_0001", "d12", "d23"), _surface),
        (("E_atom", "E_coh"), _atom),
    ]
    if not quick:
        chosen += [(("B", "B_prime"), _bulk_modulus), (("r_e", "D_e"), _dimer)]
    if phonons:
        chosen.append((("nu_min",), _lowest))
    for phase in QUICK_ABOVE_HCP if quick else ABOVE_HCP:
        chosen.append(((f"{phase}-hcp",), _above_hcp(phase)))
    return chosen


def _lattice(bench: _Bench) -> dict[str, float]:
    hcp = bench.hcp
    return {"a": hcp.a_A, "c": hcp.c_A, "c/a": hcp.c_over_a, "V0": hcp.volume_A3, "E_hcp": hcp.energy_eV}


def _bulk_modulus(bench: _Bench) -> dict[str, float]:
    fit = equation_of_state("hcp", bench.calculator, bench.hcp)
    return {"B": fit.B_GPa, "B_prime": fit.B_prime}


def _elastic(bench: _Bench) -> dict[str, float]:
    constants = hcp_elastic_constants(bench.hcp, bench.calculator)
    return {name: getattr(constants, f"{name}_GPa") for name in ("C11", "C12", "C13", "C33", "C44")}


def _gamma(bench: _Bench) -> dict[str, float]:
    modes = gamma_phonons(bench.hcp, bench.calculator)
    return {"E2g": modes.E2g_THz, "B1g": modes.B1g_THz}


def _lowest(bench: _Bench) -> dict[str, float]:
    return {"nu_min": lowest_frequency_THz(bench.hcp, bench.calculator)}


def _margin(bench: _Bench) -> dict[str, float]:
    order = phase_order(bench.calculator, bench.hcp, points=5 if bench.quick else 11)
    return {"hcp margin": 1000 * order.margin_eV()}


def _above_hcp(phase: str) -> Measurement:
    def measure(bench: _Bench) -> dict[str, float]:
        start = bench.hcp.volume_A3 * phase_named(phase).volume_ratio
        volume = equilibrium_volume(phase, bench.calculator, start)
        energy = energy_at_volume(phase, volume, bench.calculator)
        return {f"{phase}-hcp": 1000 * (energy - bench.hcp.energy_eV)}

    return measure


def _vacancy(bench: _Bench) -> dict[str, float]:
    return {"E_vac": hcp_vacancy(bench.hcp, bench.calculator, (3, 3, 2) if bench.quick else (4, 4, 3)).relaxed_eV}


def _surface(bench: _Bench) -> dict[str, float]:
    surface = basal_surface(bench.hcp, bench.calculator, layers=10 if bench.quick else 12)
    return {
        "gamma_0001": surface.gamma_J_per_m2,
        "gamma_0001_unrelaxed": surface.gamma_unrelaxed_J_per_m2,
        "d12": surface.d12_percent,
        "d23": surface.d23_percent,
    }


def _atom(bench: _Bench) -> dict[str, float]:
    atom = isolated_atom_energy(bench.calculator)
    return {"E_atom": atom, "E_coh": atom - bench.hcp.energy_eV}


def _dimer(bench: _Bench) -> dict[str, float]:
    found = dimer(bench.calculator)
    return {"r_e": found.r_e_A, "D_e": found.D_e_eV}
