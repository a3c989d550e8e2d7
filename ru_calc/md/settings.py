"""What a run is asked to do, checked when it is said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ru_calc.errors import SettingsError

ENSEMBLES = ("nve", "nvt-langevin", "nvt-bussi", "nvt-nhc", "npt-iso", "npt-cell")
TRAJECTORY_SUFFIXES = (".extxyz", ".traj", ".h5")
FRICTION_PER_PS, THERMOSTAT_TIME_FS, BAROSTAT_TIME_FS = 2.0, 100.0, 1000.0


@dataclass(frozen=True)
class MDSettings:
    """The physics of a run.

    Attributes:
        ensemble: `nve` velocity Verlet; `nvt-langevin` BAOAB; `nvt-bussi` stochastic velocity rescaling; `nvt-nhc`
            Nosé–Hoover chain; `npt-iso`, `npt-cell` Martyna–Tobias–Klein with an isotropic or a fully flexible cell.
        temperature_K: of the initial velocities and of the thermostat.
        temperature_end_K: where a linear ramp over the whole run ends; None holds `temperature_K`.
        pressure_GPa: external pressure, `npt-*` only (0 if None).
        timestep_fs, steps: of the integration.
        friction_per_ps: `nvt-langevin` only (2 if None).
        thermostat_time_fs: `nvt-bussi`, `nvt-nhc`, `npt-*` (100 if None).
        barostat_time_fs: `npt-*` (1000 if None).
        seed: of the initial velocities and of random forces.
        keep_momenta: atoms that already move keep their momenta; False draws new ones.
        log_every: steps between two rows of the thermo log.
        min_distance_A: two atoms closer than this stop the run.
        max_temperature_K: a hotter frame stops the run (10 × the highest target, at least 20000, if None).
        max_drift_eV_per_atom: a conserved quantity further than this from its start stops the run.
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

    def __post_init__(self) -> None:
        if self.ensemble not in ENSEMBLES:
            raise SettingsError(f"ensemble is {self.ensemble!r}; it must be one of {', '.join(ENSEMBLES)}")
        _check_numbers(self)
        _check_applicability(self)

    @property
    def constant_pressure(self) -> bool:
        return self.ensemble.startswith("npt")

    @property
    def hottest_K(self) -> float:
        """The temperature above which a frame counts as unphysical."""
        if self.max_temperature_K is not None:
            return self.max_temperature_K
        return max(10 * max(self.temperature_K, self.temperature_end_K or 0.0), 20000.0)

    def temperature_at(self, step: int) -> float:
        """The thermostat's temperature in K during the step that ends at `step`."""
        if self.temperature_end_K is None or self.steps == 0:
            return self.temperature_K
        return self.temperature_K + (self.temperature_end_K - self.temperature_K) * step / self.steps


@dataclass(frozen=True)
class MDOutput:
    """Where a run writes.

    Attributes:
        folder: it receives `thermo.csv`, `checkpoint.npz`, the trajectory and, at the end, `final.extxyz`.
        trajectory: file name; its suffix `.extxyz`, `.traj` or `.h5` (H5MD) sets the format; None writes none.
        trajectory_every, checkpoint_every: steps between two frames, and between two checkpoints.
        overwrite: replace an earlier run in the folder.
        origin: what the caller wants to find again on restart, such as the model's name; strings only.
    """

    folder: Path
    trajectory: str | None = "md.extxyz"
    trajectory_every: int = 50
    checkpoint_every: int = 500
    overwrite: bool = False
    origin: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("trajectory_every", "checkpoint_every"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "it must be 1 or more steps")
        if self.trajectory is not None:
            path = Path(self.trajectory)
            formats = ", ".join(TRAJECTORY_SUFFIXES)
            _require(path.suffix in TRAJECTORY_SUFFIXES, "trajectory", self.trajectory, f"it must end in {formats}")
            plain = path.name == self.trajectory and path.name not in ("final.extxyz", "last_good.extxyz")
            _require(plain, "trajectory", self.trajectory, "it is a file name of its own inside the output folder")


def _require(fine: bool, name: str, value: object, rule: str) -> None:
    if not fine:
        raise SettingsError(f"{name} is {value}; {rule}")


def _check_numbers(s: MDSettings) -> None:
    positive = ("timestep_fs", "friction_per_ps", "thermostat_time_fs", "barostat_time_fs", "min_distance_A")
    for name in (*positive, "max_temperature_K", "max_drift_eV_per_atom"):
        value = getattr(s, name)
        _require(value is None or (math.isfinite(value) and value > 0), name, value, "it must be positive and finite")
    for name in ("temperature_K", "temperature_end_K"):
        value, lowest = getattr(s, name), "0 or more" if s.ensemble == "nve" else "above 0 with a thermostat"
        fine = value is None or (math.isfinite(value) and (value > 0 or (value == 0 and s.ensemble == "nve")))
        _require(fine, name, value, f"it must be {lowest}")
    _require(s.pressure_GPa is None or math.isfinite(s.pressure_GPa), "pressure_GPa", s.pressure_GPa, "must be finite")
    _require(s.steps >= 0, "steps", s.steps, "it must be 0 or more")
    _require(s.seed >= 0, "seed", s.seed, "it must be 0 or more")
    _require(s.log_every >= 1, "log_every", s.log_every, "it must be 1 or more steps")


def _check_applicability(s: MDSettings) -> None:
    belongs = {
        "temperature_end_K": s.ensemble != "nve",
        "pressure_GPa": s.constant_pressure,
        "friction_per_ps": s.ensemble == "nvt-langevin",
        "thermostat_time_fs": s.ensemble not in ("nve", "nvt-langevin"),
        "barostat_time_fs": s.constant_pressure,
    }
    for name, fine in belongs.items():
        value = getattr(s, name)
        _require(value is None or fine, name, value, f"it has no meaning in {s.ensemble}: leave it out or change one")
