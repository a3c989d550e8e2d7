"""One run from its start or restart to its end: step, check, log, save."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorError

from ru_calc.errors import OutputError, UncertainError, UnphysicalError
from ru_calc.files import make_folder, whole_file, why
from ru_calc.md.checkpoint import NAME, Checkpoint
from ru_calc.md.ensembles import make_ensemble
from ru_calc.md.interrupt import Interruption, listen
from ru_calc.md.monitor import Monitor
from ru_calc.md.settings import RESERVED, MDOutput, MDSettings
from ru_calc.md.thermo import UNCERTAINTY, Row, ThermoLog, as_arrays, read_thermo, thermo_row
from ru_calc.md.trajectory import Writer, frame_of, open_trajectory
from ru_calc.md.uncertain import UncertaintyWatch
from ru_calc.structures import has_volume

Report = Callable[[Row, float | None], None]
THERMO, (FINAL, LAST_GOOD, UNCERTAIN) = "thermo.csv", RESERVED
CANNOT_EVALUATE = (CalculatorError, FloatingPointError, np.linalg.LinAlgError)


@dataclass(frozen=True)
class MDResult:
    """The outcome of a run.

    Attributes:
        atoms: the last frame, with calculator and momenta.
        thermo: columns of `thermo.csv` by name; after a restart, from the run's first step.
        steps: steps done since the run's first start.
        interrupted: stopped by Ctrl-C or SIGTERM before its last step.
        atom_steps_per_s: atoms times steps per second of wall time in this call; NaN if it made no step.
    """

    atoms: Atoms
    thermo: dict[str, np.ndarray]
    steps: int
    interrupted: bool
    atom_steps_per_s: float

    @property
    def drift_eV_per_atom_per_ps(self) -> float:
        """Least-squares slope of the conserved quantity against time; NaN with fewer than three rows in the log."""
        time_ps, conserved = self.thermo["time_ps"], self.thermo["conserved_eV_per_atom"]
        return float(np.polyfit(time_ps, conserved, 1)[0]) if len(time_ps) > 2 else float("nan")


def earlier_files(output: MDOutput) -> list[Path]:
    """Existing files that a run with this output would write."""
    journal = f"{output.trajectory}.part"
    names = [NAME, THERMO, *RESERVED] + ([output.trajectory, journal] if output.trajectory else [])
    return [path for path in (Path(output.folder) / name for name in names) if path.exists()]


@dataclass(frozen=True)
class _Good:
    """The last frame that passed the checks."""

    positions: np.ndarray
    momenta: np.ndarray
    cell: np.ndarray
    energy_eV: float
    own_eV: float  # without what constraints add
    forces: np.ndarray  # raw, also on atoms that are fixed


def _energy_beside_forces(atoms: Atoms) -> float:
    """The potential energy right after the forces, without ASE comparing all atoms once more."""
    known = getattr(atoms.calc, "results", {}).get("energy")
    return atoms.get_potential_energy() if known is None or atoms.constraints else float(known)


class Simulation:
    """One run from its start or restart to its end."""

    def __init__(
        self,
        atoms: Atoms,
        settings: MDSettings,
        output: MDOutput | None,
        rng: np.random.Generator,
        dof: int,
        watch: UncertaintyWatch,
    ) -> None:
        self.atoms, self.settings, self.output, self.rng, self.dof = atoms, settings, output, rng, dof
        self.watch = watch
        self.step = 0
        self.rows: list[Row] = []
        self.log: ThermoLog | None = None
        self.trajectory: Writer | None = None
        self.good: _Good | None = None
        self.uncertainty: np.ndarray | None = None
        self.closed_pipe: BrokenPipeError | None = None
        try:
            self.ensemble = make_ensemble(atoms, settings, dof, rng)
        except CANNOT_EVALUATE as problem:
            raise UnphysicalError(f"the first frame cannot be evaluated: {problem}") from problem

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Closes the files at the end, and names the step at which writing failed.

        Raises:
            OutputError: it failed.
            BrokenPipeError: nobody reads the reports any more; the run ended and was saved at that step.
        """
        try:
            with ExitStack() as files:
                files.callback(self._close)
                yield
        except OSError as problem:
            raise OutputError(f"step {self.step}: writing failed: {why(problem)}") from problem
        if self.closed_pipe is not None:
            raise self.closed_pipe

    def _close(self) -> None:
        with ExitStack() as files:
            for file in (self.log, self.trajectory):
                if file is not None:
                    files.callback(file.close)
        self.log = self.trajectory = None

    def begin(self, report: Report | None) -> None:
        """Checks the first frame, opens the files and writes step 0."""
        volume = self.atoms.get_volume() if has_volume(self.atoms) else 0.0
        try:
            energy = self.atoms.get_potential_energy()
        except CANNOT_EVALUATE as problem:
            raise UnphysicalError(f"the first frame cannot be evaluated: {problem}") from problem
        start = energy + self.atoms.get_kinetic_energy() + self.ensemble.reservoir_eV()
        self.monitor = Monitor(self.settings, start, volume)
        self._judge(self.step)
        self._look()
        if self.output is not None:
            make_folder(self.output.folder)
            for path in earlier_files(self.output):
                path.unlink()
            self.log = ThermoLog(self.output.folder / THERMO)
            if self.output.trajectory:
                self.trajectory = open_trajectory(self.output.folder / self.output.trajectory, self.atoms)
        self._write(report, None)
        self._save()

    def continue_from(self, saved: Checkpoint) -> None:
        """Reopens the files of an earlier run at its checkpoint."""
        self.monitor = Monitor(self.settings, saved.start_eV, saved.volume_A3)
        self._judge(self.step)
        folder = saved.output.folder
        for name in (FINAL, UNCERTAIN):
            (folder / name).unlink(missing_ok=True)
        self.log = ThermoLog(folder / THERMO, saved.marks["thermo"])
        self.rows = read_thermo(folder / THERMO)
        if saved.output.trajectory:
            path = folder / saved.output.trajectory
            self.trajectory = open_trajectory(path, self.atoms, saved.marks["trajectory"])

    def go(self, report: Report | None) -> MDResult:
        """Steps to the end, an interruption, or the first unphysical frame."""
        begun, first = time.perf_counter(), self.step
        # Without files there is nothing to save: Ctrl-C ends the script as usual.
        with nullcontext(Interruption()) if self.output is None else listen() as interruption:
            self._steps(report, interruption)
            if self.step % self._checkpoint_every():
                self._save()
            self._close()
            if self.step == self.settings.steps:
                self._write_frame(FINAL)  # last: a run that has it is complete
        elapsed, done = time.perf_counter() - begun, self.step - first
        speed = len(self.atoms) * done / elapsed if done else float("nan")
        interrupted = self.step < self.settings.steps
        return MDResult(self.atoms, as_arrays(self.rows), self.step, interrupted, speed)

    def _steps(self, report: Report | None, interruption: Interruption) -> None:
        settings, logged, clock = self.settings, self.step, time.perf_counter()
        while self.step < settings.steps and not interruption.asked and self.closed_pipe is None:
            n = self.step + 1
            if settings.temperature_end_K is not None:
                self.ensemble.set_temperature(settings.temperature_at(n))
            try:
                self.ensemble.step()
            except CANNOT_EVALUATE as problem:
                self._fail(n, f"the forces cannot be evaluated: {problem}")
            self._judge(n)
            self.step = n
            self._look()
            speed = None
            if n % settings.log_every == 0:
                now = time.perf_counter()
                speed = len(self.atoms) * (n - logged) / (now - clock)
                logged, clock = n, now
            self._write(report, speed)
            if n % self._checkpoint_every() == 0:
                self._save()
                self._forget()

    def _judge(self, step: int) -> None:
        atoms = self.atoms
        try:
            forces, reservoir = atoms.get_forces(apply_constraint=False), self.ensemble.reservoir_eV()
            energy = _energy_beside_forces(atoms)
            own = atoms.get_potential_energy(apply_constraint=False) if atoms.constraints else energy
        except CANNOT_EVALUATE as problem:
            self._fail(step, f"the forces cannot be evaluated: {problem}")
        cause = self.monitor.cause(atoms, energy, forces, reservoir)
        if cause:
            self._fail(step, cause)
        self.good = _Good(atoms.get_positions(), atoms.get_momenta(), atoms.cell.array.copy(), energy, own, forces)

    def _fail(self, step: int, cause: str) -> NoReturn:
        where = f"step {step} ({step * self.settings.timestep_fs / 1000:.4f} ps): {cause}"
        if self.good is None or step == 0:
            raise UnphysicalError(f"{where}: the first frame is unphysical; start from another structure")
        self.atoms.set_cell(self.good.cell)
        self.atoms.set_positions(self.good.positions, apply_constraint=False)
        self.atoms.set_momenta(self.good.momenta, apply_constraint=False)
        if self.output is None:
            raise UnphysicalError(f"{where}; the atoms are back at the step before")
        self._write_frame(LAST_GOOD)
        raise UnphysicalError(f"{where}; the last good frame is in {self.output.folder / LAST_GOOD}")

    def _look(self) -> None:
        """Sees how uncertain the model is of a frame that is logged, or of every one if the run may stop there."""
        self.uncertainty = None
        if self.watch.every_step or self.step % self.settings.log_every == 0:
            self.uncertainty = self.watch.of(self.atoms)
        cause = self.watch.exceeded(self.uncertainty)
        if cause is None:
            return
        where = f"step {self.step} ({self._time_fs() / 1000:.4f} ps)"
        if not self.watch.every_step:
            return self.watch.tell(where, cause)
        if self.output is None:
            raise UncertainError(f"{where}: {cause}")
        make_folder(self.output.folder)
        frame = self._frame()
        frame.new_array("uncertainty_eV_per_A", self.uncertainty)
        self._write_frame(UNCERTAIN, frame)
        raise UncertainError(f"{where}: {cause}; the frame is in {self.output.folder / UNCERTAIN}, to be labelled")

    def _time_fs(self) -> float:
        return self.step * self.settings.timestep_fs

    def _write(self, report: Report | None, speed: float | None) -> None:
        if self.step % self.settings.log_every == 0:
            row = thermo_row(self.atoms, self.step, self._time_fs() / 1000, self.dof, self.ensemble.reservoir_eV())
            row[UNCERTAINTY] = float("nan") if self.uncertainty is None else float(self.uncertainty.max())
            self.rows.append(row)
            if self.log is not None:
                self.log.append(row)
            if report is not None:
                self._tell(report, row, speed)
        if self.trajectory is not None and self.output is not None and self.step % self.output.trajectory_every == 0:
            self.trajectory.append(self._frame())

    def _tell(self, report: Report, row: Row, speed: float | None) -> None:
        try:
            report(row, speed)
        except BrokenPipeError as problem:
            self.closed_pipe = problem

    def _checkpoint_every(self) -> int:
        return self.output.checkpoint_every if self.output is not None else self.settings.steps + 1

    def _save(self) -> None:
        if self.output is None or self.log is None:
            return
        marks = {"thermo": self.log.mark()}
        if self.trajectory is not None:
            marks["trajectory"] = self.trajectory.mark()
        Checkpoint(
            atoms=self.atoms,
            settings=self.settings,
            output=self.output,
            step=self.step,
            dof=self.dof,
            start_eV=self.monitor.start_eV,
            volume_A3=self.monitor.volume_A3,
            energy_eV=self.good.energy_eV if self.good else float("nan"),
            ensemble=self.ensemble.state(),
            rng=dict(self.rng.bit_generator.state),
            marks=marks,
        ).save()

    def _forget(self) -> None:
        """Continues from the checkpoint as a restart would, so that both make the same rounding errors."""
        reset = getattr(self.atoms.calc, "reset", None)
        if reset is not None:
            reset()
        state = self.ensemble.state()
        self.ensemble = make_ensemble(self.atoms, self.settings, self.dof, self.rng)
        self.ensemble.load(state)

    def _frame(self) -> Atoms:
        assert self.good is not None  # frames are checked before they are written
        return frame_of(self.atoms, self.good.own_eV, self.good.forces, self.step, self._time_fs())

    def _write_frame(self, name: str, frame: Atoms | None = None) -> None:
        if self.output is not None:
            frame = frame or self._frame()
            with whole_file(self.output.folder / name) as temporary:
                ase.io.write(temporary, frame, format="extxyz")
