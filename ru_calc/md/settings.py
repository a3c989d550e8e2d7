"""Settings of a run, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ru_calc.errors import SettingsError, require

ENSEMBLES = ("nve", "nvt-langevin", "nvt-bussi", "nvt-nhc", "npt-iso", "npt-cell")
TRAJECTORY_SUFFIXES = (".extxyz", ".traj", ".h5")
RESERVED = ("final.extxyz", "last_good.extxyz", "uncertain.extxyz")
FRICTION_PER_PS, THERMOSTAT_TIME_FS, BAROSTAT_TIME_FS = 2.0, 100.0, 1000.0


@dataclass(frozen=True)
class MDSettings:
    """The physics of a run.

    Attributes:
        ensemble: `nve` velocity Verlet; `nvt-langevin` BAOAB; `nvt-bussi` stochastic velocity rescaling; `nvt-nhc`
            Nosé–Hoover chain; `npt-iso`, `npt-cell` Martyna–Tobias–Klein with an isotropic or a fully flexible cell.
        temperature_K: of the initial velocities and the thermostat.
        temperature_end_K: end of a linear ramp over the whole run; None keeps `temperature_K`.
        pressure_GPa: external pressure, `npt-*` only (0 if None).
        timestep_fs, steps: length and number of time steps.
        friction_per_ps: `nvt-langevin` only (2 if None).
        thermostat_time_fs: `nvt-bussi`, `nvt-nhc`, `npt-*` (100 if None).
        barostat_time_fs: `npt-*` (1000 if None).
        seed: of the initial velocities and the random forces.
        keep_momenta: atoms that already move keep their momenta, but for drift and rotation; False draws new ones.
        log_every: steps between two rows of the log.
        min_distance_A: the run stops when two atoms are closer.
        max_temperature_K: the run stops at a higher temperature (10 × the highest target, at least 20000, if None).
        max_drift_eV_per_atom: the run stops when the conserved quantity has drifted further.
        log_uncertainty: log the largest uncertainty of all atoms, if the calculator knows it.
        uncertain_above_eV_per_A: a larger uncertainty is warned of, once (the model's own threshold if None).
        stop_when_uncertain: the run stops there instead; the uncertainty is then watched at every step.

    Raises:
        SettingsError: a value is out of range, or does not apply to the ensemble.
    """

    ensemble: str = "nvt-bussi"
    temperature_K: float = 300.0
    temperature_end_K: float | None = None
    pressure_GPa: float | None = None
    timestep_fs: float = 2.0
    steps: int = 500
    friction_per_ps: float | None = None
    thermostat_time_fs: float | None = None
    barostat_time_fs: float | None = None
    seed: int = 0
    keep_momenta: bool = True
    log_every: int = 50
    min_distance_A: float = 1.0
    max_temperature_K: float | None = None
    max_drift_eV_per_atom: float = 0.2
    log_uncertainty: bool = True
    uncertain_above_eV_per_A: float | None = None
    stop_when_uncertain: bool = False

    def __post_init__(self) -> None:
        require(self.ensemble in ENSEMBLES, "ensemble", repr(self.ensemble), f"one of {', '.join(ENSEMBLES)}")
        _check_numbers(self)
        _check_applicability(self)

    @property
    def constant_pressure(self) -> bool:
        return self.ensemble.startswith("npt")

    @property
    def hottest_K(self) -> float:
        """Temperature above which a frame is unphysical."""
        if self.max_temperature_K is not None:
            return self.max_temperature_K
        return max(10 * max(self.temperature_K, self.temperature_end_K or 0.0), 20000.0)

    def temperature_at(self, step: int) -> float:
        """Target temperature in K of the step that ends at `step`."""
        if self.temperature_end_K is None or self.steps == 0:
            return self.temperature_K
        return self.temperature_K + (self.temperature_end_K - self.temperature_K) * step / self.steps


@dataclass(frozen=True)
class MDOutput:
    """Where and how often a run writes.

    Attributes:
        folder: gets `thermo.csv`, `checkpoint.npz`, the trajectory and, at the end, `final.extxyz`.
        trajectory: file name with the suffix of its format, `.extxyz`, `.traj` or `.h5` (H5MD); None writes none.
        trajectory_every, checkpoint_every: steps between two frames and between two checkpoints.
        overwrite: replace an earlier run in the folder.
        origin: strings that the caller needs at a restart, such as the model's name.

    Raises:
        SettingsError: a value is out of range.
    """

    folder: Path
    trajectory: str | None = "md.extxyz"
    trajectory_every: int = 50
    checkpoint_every: int = 500
    overwrite: bool = False
    origin: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("trajectory_every", "checkpoint_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 step or more")
        if self.trajectory is not None:
            path = Path(self.trajectory)
            formats = ", ".join(TRAJECTORY_SUFFIXES)
            require(path.suffix in TRAJECTORY_SUFFIXES, "trajectory", path, f"a file name that ends in {formats}")
            plain = path.name == self.trajectory and path.name not in RESERVED
            require(plain, "trajectory", path, f"a file name without folders, other than {', '.join(RESERVED)}")


def _check_numbers(s: MDSettings) -> None:
    positive = ("timestep_fs", "friction_per_ps", "thermostat_time_fs", "barostat_time_fs", "min_distance_A")
    for name in (*positive, "max_temperature_K", "max_drift_eV_per_atom", "uncertain_above_eV_per_A"):
        value = getattr(s, name)
        require(value is None or (math.isfinite(value) and value > 0), name, value, "positive and finite")
    for name in ("temperature_K", "temperature_end_K"):
        value, lowest = getattr(s, name), "0 or more" if s.ensemble == "nve" else "above 0 with a thermostat"
        fine = value is None or (math.isfinite(value) and (value > 0 or (value == 0 and s.ensemble == "nve")))
        require(fine, name, value, lowest)
    require(s.pressure_GPa is None or math.isfinite(s.pressure_GPa), "pressure_GPa", s.pressure_GPa, "finite")
    for name, least in (("steps", 0), ("seed", 0), ("log_every", 1)):
        require(getattr(s, name) >= least, name, getattr(s, name), f"{least} or more")


def _check_applicability(s: MDSettings) -> None:
    applies = {
        "temperature_end_K": s.ensemble != "nve",
        "pressure_GPa": s.constant_pressure,
        "friction_per_ps": s.ensemble == "nvt-langevin",
        "thermostat_time_fs": s.ensemble not in ("nve", "nvt-langevin"),
        "barostat_time_fs": s.constant_pressure,
    }
    for name, fine in applies.items():
        value = getattr(s, name)
        if value is not None and not fine:
            raise SettingsError(
                f"{name} is {value}, but it does not apply to {s.ensemble}: leave it out or choose another ensemble"
            )
