"""Relaxed lattices, equations of state and the order of phases of perfect crystals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from scipy.optimize import minimize, minimize_scalar

from ru_calc.errors import UnphysicalError
from ru_calc.properties.energies import energy_of
from ru_calc.structures.lattices import hcp_crystal, phase_crystal, phase_named
from ru_calc.units import EV_PER_A3_IN_GPA

# How far a search may go from its start, as a factor on lattice constants, c/a and volumes.
LENGTH_RANGE, C_OVER_A_RANGE, VOLUME_RANGE = 1.25, 1.15, 1.35
CLOSE_PHASES = ("hcp", "dhcp", "fcc", "bcc", "a15")


@dataclass(frozen=True)
class HcpLattice:
    """The relaxed hcp crystal: lattice parameters in Å, energy per atom in eV."""

    a_A: float
    c_A: float
    energy_eV: float

    @property
    def c_over_a(self) -> float:
        return self.c_A / self.a_A

    @property
    def volume_A3(self) -> float:
        """Volume per atom in Å³."""
        return float(np.sqrt(3) / 4 * self.a_A**2 * self.c_A)

    def atoms(self) -> Atoms:
        """The primitive cell, c along z."""
        return hcp_crystal(self.a_A, self.c_A)


@dataclass(frozen=True)
class EquationOfStateFit:
    """A third-order Birch–Murnaghan fit, E(V) = E0 + 9 V0 B/16 [(x − 1)³ B' + (x − 1)² (6 − 4x)], x = (V0/V)^⅔.

    Attributes:
        volumes_A3, energies_eV: the fitted points (k,), per atom.
        V0_A3, E0_eV: minimum, per atom.
        B_GPa, B_prime: bulk modulus and its pressure derivative at V0.
        residual_eV: largest deviation of a point from the curve, per atom.
    """

    volumes_A3: np.ndarray
    energies_eV: np.ndarray
    V0_A3: float
    E0_eV: float
    B_GPa: float
    B_prime: float
    residual_eV: float

    def energy_eV(self, volume_A3: np.ndarray) -> np.ndarray:
        """Energy per atom of the fitted curve at volumes per atom in Å³."""
        x = (self.V0_A3 / np.asarray(volume_A3)) ** (2 / 3)
        scale = 9 * self.V0_A3 * self.B_GPa / EV_PER_A3_IN_GPA / 16
        return self.E0_eV + scale * ((x - 1) ** 3 * self.B_prime + (x - 1) ** 2 * (6 - 4 * x))


def relaxed_hcp(calculator: Calculator, a_guess_A: float = 2.72, c_guess_A: float = 4.29) -> HcpLattice:
    """The hcp lattice of lowest energy, minimised over (ln a, ln c) with the gradient V(σ_xx + σ_yy), V σ_zz.

    Raises:
        UnphysicalError: there is no minimum within 25 % of both guesses.
    """

    def energy_and_slope(x: np.ndarray) -> tuple[float, np.ndarray]:
        a, c = (float(length) for length in np.exp(x))
        atoms = hcp_crystal(a, c)
        energy = energy_of(atoms, calculator)
        virial = atoms.get_stress() * atoms.get_volume()
        return energy, np.array([virial[0] + virial[1], virial[2]])

    start = np.log([a_guess_A, c_guess_A])
    reach = np.log(LENGTH_RANGE)
    bounds = np.stack([start - reach, start + reach], axis=1)
    # ftol at rounding level: the gradient decides, so a flat minimum is still found to 1e-5.
    found = minimize(
        energy_and_slope, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"gtol": 1e-5, "ftol": 1e-14}
    )
    a, c = (float(value) for value in np.exp(found.x))
    around = [energy_of(hcp_crystal(f * a, f * c), calculator) for f in (0.97, 1.03)]
    # Where a model has no forces it is flat, which a search takes for a minimum.
    if not min(around) > found.fun or np.any(np.abs(found.x - start) > 0.999 * reach):
        raise UnphysicalError(
            f"no hcp lattice within {100 * (LENGTH_RANGE - 1):.0f} % of a = {a_guess_A} Å, c = {c_guess_A} Å: the "
            f"search ended at {a:.3f}, {c:.3f} Å; start closer with a_guess_A and c_guess_A, or do not trust the model"
        )
    return HcpLattice(a, c, float(found.fun) / 2)


def energy_at_volume(name: str, volume_A3: float, calculator: Calculator) -> float:
    """Energy per atom in eV of a phase at a volume per atom in Å³, with c/a (of a hexagonal phase) relaxed.

    Raises:
        UnphysicalError: the best c/a is more than 15 % from its usual value.
        SettingsError: an unknown phase.
    """
    phase = phase_named(name)
    if not phase.hexagonal:
        atoms = phase_crystal(name, volume_A3)
        return energy_of(atoms, calculator) / len(atoms)

    def energy(log_ratio: float) -> float:
        atoms = phase_crystal(name, volume_A3, phase.c_over_a * float(np.exp(log_ratio)))
        return energy_of(atoms, calculator) / len(atoms)

    reach = float(np.log(C_OVER_A_RANGE))
    found = minimize_scalar(energy, bounds=(-reach, reach), method="bounded", options={"xatol": 3e-4})
    if abs(found.x) > 0.99 * reach:
        raise UnphysicalError(
            f"{name} at {volume_A3:.2f} Å³ per atom has no best c/a within 15 % of {phase.c_over_a}: it is "
            "unstable in this model"
        )
    return float(found.fun)


def equilibrium_volume(name: str, calculator: Calculator, start_A3: float) -> float:
    """Volume per atom in Å³ of a phase's lowest energy, within 35 % of `start_A3`.

    Raises:
        UnphysicalError: there is no minimum in that range.
        SettingsError: an unknown phase.
    """
    low, high = start_A3 / VOLUME_RANGE, start_A3 * VOLUME_RANGE

    def energy(volume_A3: float) -> float:
        return energy_at_volume(name, volume_A3, calculator)

    found = minimize_scalar(energy, bounds=(low, high), method="bounded", options={"xatol": 0.01})
    if not 1.01 * low < found.x < 0.99 * high:
        raise UnphysicalError(f"{name} has no energy minimum between {low:.1f} and {high:.1f} Å³ per atom")
    return float(found.x)


def fit_equation_of_state(volumes_A3: np.ndarray, energies_eV: np.ndarray) -> EquationOfStateFit:
    """Third-order Birch–Murnaghan fit (F. Birch, Phys. Rev. 71, 809 (1947)).

    The curve is a cubic polynomial in V^(−2/3), so the least-squares fit is linear and always converges.

    At least four points (k,) are needed, per atom.

    Raises:
        UnphysicalError: the fitted curve has no minimum within the points.
    """
    volumes, energies = np.asarray(volumes_A3, dtype=float), np.asarray(energies_eV, dtype=float)
    x = volumes ** (-2 / 3)
    curve = np.polynomial.Polynomial.fit(x, energies, 3)
    slope, curvature = curve.deriv(), curve.deriv(2)
    minima = [float(z.real) for z in slope.roots() if abs(z.imag) < 1e-12 and x.min() < z.real < x.max()]
    minima = [z for z in minima if curvature(z) > 0]
    if not minima:
        raise UnphysicalError(f"no Birch–Murnaghan curve with a minimum fits {np.round(energies, 4).tolist()} eV")
    x0 = minima[0]
    volume = x0**-1.5
    modulus = 4 / 9 * curvature(x0) * x0**2 / volume
    return EquationOfStateFit(
        volumes,
        energies,
        V0_A3=volume,
        E0_eV=float(curve(x0)),
        B_GPa=float(modulus * EV_PER_A3_IN_GPA),
        B_prime=float(4 + 8 / 27 * curve.deriv(3)(x0) * x0**3 / (volume * modulus)),
        residual_eV=float(np.abs(curve(x) - energies).max()),
    )


def equation_of_state(
    name: str, calculator: Calculator, hcp: HcpLattice, span: float = 0.10, points: int = 9
) -> EquationOfStateFit:
    """Equation of state of a phase around its equilibrium volume, with c/a relaxed at each volume.

    Args:
        name: one of `PHASES`.
        span: largest relative change of volume.

    Raises:
        UnphysicalError: the phase has no minimum, or none that can be fitted.
        SettingsError: an unknown phase.
    """
    volume = equilibrium_volume(name, calculator, hcp.volume_A3 * phase_named(name).volume_ratio)
    volumes = volume * np.linspace(1 - span, 1 + span, points)
    energies = np.array([energy_at_volume(name, v, calculator) for v in volumes])
    return fit_equation_of_state(volumes, energies)


@dataclass(frozen=True)
class PhaseOrder:
    """Energies of several phases on one grid of volumes.

    Attributes:
        volumes_A3: (k,) volumes per atom.
        energies_eV: phase → (k,) energies per atom, c/a relaxed.
    """

    volumes_A3: np.ndarray
    energies_eV: dict[str, np.ndarray]

    def margin_eV(self, lowest: str = "hcp") -> float:
        """Smallest energy of another phase above `lowest`, in eV per atom; negative if one is lower."""
        others = [self.energies_eV[name] - self.energies_eV[lowest] for name in self.energies_eV if name != lowest]
        return float(np.min(others))


def phase_order(
    calculator: Calculator, hcp: HcpLattice, phases: tuple[str, ...] = CLOSE_PHASES, points: int = 11
) -> PhaseOrder:
    """Energies of phases on one grid of volumes within 10 % of that of hcp, with c/a relaxed.

    Raises:
        UnphysicalError: a phase has no best c/a.
        SettingsError: an unknown phase.
    """
    volumes = hcp.volume_A3 * np.linspace(0.9, 1.1, points)
    energies = {name: np.array([energy_at_volume(name, v, calculator) for v in volumes]) for name in phases}
    return PhaseOrder(volumes, energies)
