"""ASE's integrators behind one interface: step, temperature, reservoir energy, state for an exact restart.

ASE's Bussi, Nosé–Hoover and Martyna–Tobias–Klein integrators assume 3N degrees of freedom.  Here they get the actual
number (see `velocities.degrees_of_freedom`); otherwise 100 atoms would be 1 % too hot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.bussi import Bussi
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.verlet import VelocityVerlet

from ru_calc.errors import SettingsError
from ru_calc.md.settings import BAROSTAT_TIME_FS, FRICTION_PER_PS, THERMOSTAT_TIME_FS, MDSettings
from ru_calc.structures import has_volume
from ru_calc.units import EV_PER_A3_IN_GPA

State = dict[str, Any]


class Ensemble:
    """Velocity Verlet at constant energy, and what the other ensembles share; `atoms` are moved in place."""

    def __init__(self, atoms: Atoms, settings: MDSettings, dof: int, rng: np.random.Generator) -> None:
        self.atoms, self.settings, self.dof, self.rng = atoms, settings, dof, rng
        self.timestep = settings.timestep_fs * units.fs
        self.thermostat_time = (settings.thermostat_time_fs or THERMOSTAT_TIME_FS) * units.fs
        self.dynamics = self._make()

    def _make(self) -> Any:
        return VelocityVerlet(self.atoms, self.timestep)

    def step(self) -> None:
        """One time step."""
        self.dynamics.step()

    def set_temperature(self, temperature_K: float) -> None:
        """Sets the thermostat's temperature, without a jump of the conserved quantity."""
        raise SettingsError(f"{self.settings.ensemble} has no thermostat to set to {temperature_K} K")

    def reservoir_eV(self) -> float:
        """Energy in thermostat and barostat: exact integration conserves its sum with potential and kinetic energy."""
        return 0.0

    def state(self) -> State:
        """What the next step depends on besides atoms and random numbers, in plain types that JSON keeps exactly."""
        return {}

    def load(self, state: State) -> None:
        """Restores a `state`."""


class _CountingBAOAB(LangevinBAOAB):
    """ASE's BAOAB, which also sums the kinetic energy supplied by friction and noise."""

    given = 0.0

    def _BAOAB_OU(self, drag_gamma_mod: float = 0.0) -> None:
        before = self.atoms.get_kinetic_energy()
        super()._BAOAB_OU(drag_gamma_mod)
        self.given += self.atoms.get_kinetic_energy() - before


class Langevin(Ensemble):
    """Langevin dynamics with BAOAB splitting; the heat exchanged is summed up."""

    def _make(self) -> Any:
        friction = (self.settings.friction_per_ps or FRICTION_PER_PS) / (1000 * units.fs)
        target = {"temperature_K": self.settings.temperature_K, "T_tau": 1 / friction}
        return _CountingBAOAB(self.atoms, self.timestep, rng=self.rng, **target)

    def set_temperature(self, temperature_K: float) -> None:
        self.dynamics.set_temperature(temperature_K)

    def reservoir_eV(self) -> float:
        return -float(self.dynamics.given)

    def state(self) -> State:
        return {"given": float(self.dynamics.given), "temperature_K": float(self.dynamics.temperature_K)}

    def load(self, state: State) -> None:
        self.dynamics.given = state["given"]
        self.dynamics.set_temperature(state["temperature_K"])


class VelocityRescaling(Ensemble):
    """Bussi's stochastic rescaling of all velocities."""

    def _make(self) -> Any:
        dynamics = Bussi(
            self.atoms, self.timestep, self.settings.temperature_K, taut=self.thermostat_time, rng=self.rng
        )
        dynamics.ndof = self.dof
        dynamics.target_kinetic_energy = 0.5 * dynamics.temp * self.dof
        return dynamics

    def set_temperature(self, temperature_K: float) -> None:
        self.dynamics.temp = temperature_K * units.kB
        self.dynamics.target_kinetic_energy = 0.5 * self.dynamics.temp * self.dof

    def reservoir_eV(self) -> float:
        return -float(self.dynamics.transferred_energy)

    def state(self) -> State:
        return {"given": float(self.dynamics.transferred_energy)}

    def load(self, state: State) -> None:
        self.dynamics.transferred_energy = state["given"]


class NoseHoover(Ensemble):
    """A chain of three Nosé–Hoover thermostats.

    When the temperature changes, the thermostat's masses scale with it, which keeps its period, and so do its momenta,
    which keeps its velocities.  The resulting jump of the reservoir energy is external work, and `offset` removes it.
    """

    CHAIN = ("_eta", "_p_eta", "_Q")

    def __init__(self, atoms: Atoms, settings: MDSettings, dof: int, rng: np.random.Generator) -> None:
        super().__init__(atoms, settings, dof, rng)
        self.offset = 0.0
        self.parts: dict[str, tuple[str, ...]] = {"_thermostat": self.CHAIN}

    def _make(self) -> Any:
        dynamics = NoseHooverChainNVT(
            self.atoms, self.timestep, self.settings.temperature_K, tdamp=self.thermostat_time
        )
        dynamics._thermostat._num_atoms_global = self.dof / 3  # type: ignore[assignment]  # ASE infers an integer
        return dynamics

    def set_temperature(self, temperature_K: float) -> None:
        before = self.reservoir_eV()
        self._scale(temperature_K * units.kB / self.dynamics._thermostat._kT)
        self.offset += before - self.reservoir_eV()

    def _scale(self, ratio: float) -> None:
        _scale(self.dynamics._thermostat, ("_kT", "_Q", "_p_eta"), ratio)

    def reservoir_eV(self) -> float:
        return self.offset + self.dynamics._thermostat.get_thermostat_energy()

    def state(self) -> State:
        state: State = {"offset": self.offset, "_thermostat._kT": float(self.dynamics._thermostat._kT)}
        return state | {key: np.asarray(getattr(owner, name)).tolist() for key, owner, name in self._variables()}

    def load(self, state: State) -> None:
        self.offset = state["offset"]
        self.dynamics._thermostat._kT = state["_thermostat._kT"]
        for key, owner, name in self._variables():
            setattr(owner, name, np.array(state[key]) if isinstance(state[key], list) else state[key])

    def _variables(self) -> Iterator[tuple[str, Any, str]]:
        for part, names in self.parts.items():
            owner = getattr(self.dynamics, part) if part else self.dynamics
            yield from ((f"{part}.{name}", owner, name) for name in names)


class ConstantPressure(NoseHoover):
    """Constant temperature and pressure by the equations of Martyna, Tobias and Klein."""

    def __init__(self, atoms: Atoms, settings: MDSettings, dof: int, rng: np.random.Generator) -> None:
        super().__init__(atoms, settings, dof, rng)
        self.isotropic = settings.ensemble == "npt-iso"
        cell = ("_eps", "_p_eps", "_volume0", "_cell0") if self.isotropic else ("_p_g", "_h")
        self.parts = {"_thermostat": self.CHAIN, "_barostat": ("_xi", "_p_xi", "_R", "_W", "_kT"), "": cell}

    def _make(self) -> Any:
        if not has_volume(self.atoms):
            raise SettingsError(
                f"{self.settings.ensemble} needs a cell that is periodic in three directions; pbc is "
                f"{self.atoms.pbc.tolist()}: choose an nvt ensemble"
            )
        dynamics = (IsotropicMTKNPT if self.settings.ensemble == "npt-iso" else MTKNPT)(
            self.atoms,
            self.timestep,
            self.settings.temperature_K,
            pressure_au=(self.settings.pressure_GPa or 0.0) / EV_PER_A3_IN_GPA,
            tdamp=self.thermostat_time,
            pdamp=(self.settings.barostat_time_fs or BAROSTAT_TIME_FS) * units.fs,
        )
        dynamics._thermostat._num_atoms_global = self.dof / 3  # type: ignore[assignment]  # ASE infers an integer
        dynamics._num_atoms_global = self.dof / 3
        return dynamics

    def _scale(self, ratio: float) -> None:
        super()._scale(ratio)
        _scale(self.dynamics._barostat, ("_kT", "_W", "_R", "_p_xi"), ratio)
        _scale(self.dynamics, ("_p_eps",) if self.isotropic else ("_p_g",), ratio)

    def reservoir_eV(self) -> float:
        dynamics = self.dynamics
        momentum = dynamics._p_eps if self.isotropic else dynamics._p_g
        moving = float(np.sum(np.square(momentum))) / (2 * dynamics._barostat.W)
        work = dynamics._pressure_au * float(dynamics._get_volume())
        return super().reservoir_eV() + dynamics._barostat.get_barostat_energy() + moving + work


def _scale(owner: Any, names: tuple[str, ...], ratio: float) -> None:
    for name in names:
        setattr(owner, name, getattr(owner, name) * ratio)


CLASSES: dict[str, type[Ensemble]] = {
    "nve": Ensemble,
    "nvt-langevin": Langevin,
    "nvt-bussi": VelocityRescaling,
    "nvt-nhc": NoseHoover,
    "npt-iso": ConstantPressure,
    "npt-cell": ConstantPressure,
}


def make_ensemble(atoms: Atoms, settings: MDSettings, dof: int, rng: np.random.Generator) -> Ensemble:
    """The integrator for `settings.ensemble`.

    Raises:
        SettingsError: it cannot handle these atoms: no degrees of freedom, constraints, no volume or no stress.
    """
    name = settings.ensemble
    if atoms.constraints and name not in ("nve", "nvt-bussi"):
        raise SettingsError(
            f"{name} moves all atoms, but some are constrained: use nve or nvt-bussi, or remove the constraints"
        )
    if settings.constant_pressure and "stress" not in atoms.calc.implemented_properties:
        raise SettingsError(
            f"{name} needs the stress, which {type(atoms.calc).__name__} does not provide: use nvt or nve"
        )
    if dof < 1 and name != "nve":
        raise SettingsError(
            f"{name} has nothing to act on: without drift and rotation, {len(atoms)} atom(s) have {dof} degrees of "
            "freedom; use nvt-langevin or nve"
        )
    return CLASSES[name](atoms, settings, dof, rng)
