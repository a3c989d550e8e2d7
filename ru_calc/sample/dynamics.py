"""Frames of molecular dynamics, far enough apart in time to differ."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ru_calc.errors import UnphysicalError
from ru_calc.md import MDSettings, run_md

TIMESTEP_FS = 2.0
WAIT_FS = 400.0
FRAMES_PER_RUN = 4


@dataclass(frozen=True)
class MDKind:
    """A kind of run: which static kinds it starts from, and how hot it is.

    Attributes:
        name: also the `config_type` of its frames.
        makes: what it makes, in words.
        count: frames by default.
        starts: static kinds; runs take them in turn.
        temperature_K: lowest and highest by default; runs are spread between them.
        boundary, nearest_A: see `Kind`.
    """

    name: str
    makes: str
    count: int
    starts: tuple[str, ...]
    temperature_K: tuple[float, float]
    boundary: str = "bulk"
    nearest_A: float = 1.6


SOLID_K, SURFACE_K, LIQUID_K, MOLECULE_K = (300.0, 2800.0), (300.0, 2500.0), (3000.0, 6000.0), (300.0, 3000.0)
MD_KINDS = {
    kind.name: kind
    for kind in (
        MDKind("md_hcp8", "hot hcp", 8, ("hcp_rattle8", "hcp_rattle8o"), SOLID_K),
        MDKind("md_hcp12", "hot hcp", 8, ("hcp_rattle12",), SOLID_K),
        MDKind("md_fcc8", "hot fcc", 8, ("fcc_rattle8",), SOLID_K),
        MDKind("md_bcc8", "hot bcc", 4, ("bcc_rattle8",), SOLID_K),
        MDKind("md_press8", "hot compressed hcp", 8, ("hcp_compressed8",), (300.0, 5000.0), nearest_A=1.5),
        MDKind("md_stretched8", "hot stretched hcp", 8, ("hcp_expanded8",), SOLID_K),
        MDKind("md_liquid", "liquid", 16, ("random12", "random8", "random16"), LIQUID_K),
        MDKind("md_slab0001", "hot hcp (0001)", 12, ("slab0001_rattle", "slab_wide_rattle"), SURFACE_K, "slab"),
        MDKind("md_slab_hkl", "other hot surfaces", 12,
               ("slab_other_rattle", "slab1010_rattle", "slab1120_rattle", "slab1011_rattle", "slab_step"), SURFACE_K,
               "slab"),
        MDKind("md_adatom", "an atom that moves on a surface", 12, ("slab_adatom",), SURFACE_K, "slab"),
        MDKind("md_slab_vacancy", "a hot surface with a vacancy", 4, ("slab_vac",), SURFACE_K, "slab"),
        MDKind("md_vacancy", "hot vacancies", 12, ("vacancy11", "vacancy15", "divacancy14"), SOLID_K),
        MDKind("md_interstitial", "hot interstitials", 8, ("interstitial13", "interstitial9"), (300.0, 2000.0)),
        MDKind("md_cluster", "hot clusters", 8, ("cluster_pol", "trimer_pol"), MOLECULE_K, "cluster"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class MDFrames:
    """Frames of a run.

    Attributes:
        frames: copies of the atoms, without momenta and calculator; `info` has `T`, the target in K, and `time_fs`.
        problem: why the run ended early, or None.
    """

    frames: list[Atoms]
    problem: str | None


def md_frames(
    start: Atoms,
    calculator: BaseCalculator,
    settings: MDSettings,
    every_fs: float = 200.0,
    wait_fs: float = WAIT_FS,
) -> MDFrames:
    """Runs molecular dynamics and keeps a frame every `every_fs`, the first after `wait_fs`.

    A run that becomes unphysical ends there, and the frames until then are kept.

    Args:
        start: the first structure; it is not changed.
        calculator: any ASE calculator; reset first, so that earlier runs do not matter.
        settings: ensemble, temperature, number of steps; `log_every` is set by `every_fs`.

    Raises:
        SettingsError: the ensemble cannot handle these atoms or this calculator.
    """
    stride = max(1, round(every_fs / settings.timestep_fs))
    atoms, frames = start.copy(), []

    def keep(row: dict[str, float], _speed: float | None) -> None:
        time_fs = row["step"] * settings.timestep_fs
        if row["step"] and time_fs >= wait_fs:
            frame = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            frame.info = {"T": round(settings.temperature_at(int(row["step"]))), "time_fs": float(time_fs)}
            frames.append(frame)

    forget = getattr(calculator, "reset", None)
    if forget is not None:
        forget()
    try:
        run_md(atoms, calculator, replace(settings, log_every=stride, log_uncertainty=False), report=keep)
    except UnphysicalError as problem:
        return MDFrames(frames, str(problem))
    return MDFrames(frames, None)


@dataclass(frozen=True)
class Condition:
    """One run of a kind: its number, its temperature, its frames."""

    run: int
    temperature_K: float
    frames: int
    seed: int

    def settings(self, every_fs: float) -> MDSettings:
        """Long enough for the frames, at constant temperature and volume."""
        stride = max(1, round(every_fs / TIMESTEP_FS))
        steps = (math.ceil(WAIT_FS / (stride * TIMESTEP_FS)) + self.frames - 1) * stride
        return MDSettings("nvt-bussi", self.temperature_K, timestep_fs=TIMESTEP_FS, steps=steps, seed=self.seed)


def conditions(count: int, temperature_K: tuple[float, float], generator: np.random.Generator) -> Iterator[Condition]:
    """Runs that make `count` frames, their temperatures one in each of as many equal parts of the range."""
    runs = -(-count // FRAMES_PER_RUN)
    low, high = temperature_K
    for run, part in enumerate(generator.permutation(runs)):
        temperature = low + (high - low) * (part + generator.random()) / runs
        frames = min(FRAMES_PER_RUN, count - run * FRAMES_PER_RUN)
        yield Condition(run, float(temperature), frames, int(generator.integers(2**31)))
