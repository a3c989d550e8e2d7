"""Making the frames: drawn again until they are fit for a calculation, and the same for the same seed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ru_calc.errors import SettingsError
from ru_calc.sample.catalogue import KINDS, wanted_kinds, wanted_md_kinds
from ru_calc.sample.dynamics import MD_KINDS, Condition, MDKind, conditions, md_frames
from ru_calc.sample.frames import Known, finished, objection
from ru_calc.sample.kind import Case, Draw, Kind
from ru_calc.sample.settings import SampleSettings

TRIES = 100
# Starts of runs have numbers that no static frame reaches: a run does not start from a frame of the sample.
START, START_TURNS = 1 << 20, 60
# A cluster whose cell grows further has come apart.
GROWTH_A = 4.0
Report = Callable[[str], None]


@dataclass
class Sample:
    """What was made.

    Attributes:
        frames: in the order of their kinds; `info` has `config_type`, `kind` (bulk, slab or cluster), `spin`, `uid`,
            `group_id`, `dmin` and parameters of the kind.
        notes: what is missing, in words: kinds that need more atoms, known frames, runs that ended early.
    """

    frames: list[Atoms] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def sample(
    settings: SampleSettings,
    calculator: Callable[[], BaseCalculator] | None = None,
    known: Sequence[Atoms] = (),
    report: Report | None = None,
) -> Sample:
    """Diverse structures of ruthenium to be labelled, without labels.

    Args:
        settings: kinds and counts.
        calculator: makes the calculator of the runs; called once, and only if there are any.
        known: frames that are not made again, nor near-copies of them.
        report: called with the name of each kind before it is made.

    Raises:
        SettingsError: an unknown kind, no kind at all, runs without a calculator, or a kind whose frames come too
            close or repeat each other in all of 100 draws.
    """
    counts, large = wanted_kinds(settings)
    md_counts, md_large = wanted_md_kinds(settings)
    if not counts and not md_counts:
        raise SettingsError("no frames are asked for: name kinds with counts above 0")
    if md_counts and calculator is None:
        raise SettingsError(f"{next(iter(md_counts))} needs molecular dynamics: give a calculator")
    made, report = Sample(), report or (lambda _: None)
    if large or md_large:
        made.notes.append(f"left out, as they need more than {settings.max_atoms} atoms: {', '.join(large + md_large)}")
    # First, as a model may be missing.
    runs = calculator() if md_counts and calculator is not None else None
    for name, count in counts.items():
        report(name)
        made.frames += static_frames(KINDS[name], count, settings)
    if runs is not None:
        for name, count in md_counts.items():
            report(name)
            made.frames += _of_runs(MD_KINDS[name], count, settings, runs, made.notes)
    _leave_out(made, Known(known))
    return made


def _leave_out(made: Sample, known: Known) -> None:
    kept = [atoms for atoms in made.frames if not known.has(atoms)]
    if len(kept) < len(made.frames):
        made.notes.append(f"left out, as they are known: {len(made.frames) - len(kept)} of {len(made.frames)} frames")
        made.frames = kept


def static_frames(kind: Kind, count: int, settings: SampleSettings) -> list[Atoms]:
    """`count` frames of a kind; frame k of a kind that is not a scan does not depend on the count.

    Raises:
        SettingsError: a frame is not fit for a calculation, or repeats an earlier one, in all draws.
    """
    cases, frames, earlier = kind.within(settings.max_atoms), [], Known()
    for k in range(count):
        case = cases[k % len(cases)]
        atoms = _drawn(kind, case, (k // len(cases), _turns(count, k, len(cases)), k), settings, earlier)
        group = f"{kind.name}_{k % len(cases)}" if kind.scan else None
        frames.append(finished(atoms, kind.name, kind.boundary, group))
        earlier.add(frames[-1])
    return frames


def _turns(count: int, k: int, cases: int) -> int:
    """How often the case of frame k comes among `count` frames."""
    return math.ceil((count - k % cases) / cases)


def _drawn(kind: Kind, case: Case, where: tuple[int, int, int], settings: SampleSettings, earlier: Known) -> Atoms:
    turn, turns, k = where
    limit_A, cause = settings.nearest_A if kind.nearest_A is None else kind.nearest_A, None
    for attempt in range(TRIES):
        draw = Draw(turn, turns, generator(settings.seed, kind.name, k, attempt), settings.vacuum_A)
        atoms = kind.make(case.what, draw)
        cause = objection(atoms, kind.boundary, limit_A)
        if cause is None and earlier.has(atoms):
            cause = "it repeats an earlier one"
        if cause is None:
            return atoms
    raise SettingsError(
        f"frame {k} of {kind.name} is unfit in each of {TRIES} draws: {cause}; lower the limit of the nearest "
        "distance, or ask for fewer frames of this kind"
    )


def generator(seed: int, name: str, *numbers: int) -> np.random.Generator:
    """Random numbers that belong to this kind and these numbers alone."""
    return np.random.default_rng([seed, zlib.crc32(name.encode()), *numbers])


def _of_runs(
    kind: MDKind, count: int, settings: SampleSettings, calculator: BaseCalculator, notes: list[str]
) -> list[Atoms]:
    frames: list[Atoms] = []
    limits = settings.temperature_K or kind.temperature_K
    for condition in conditions(count, limits, generator(settings.seed, kind.name)):
        start = _start(kind, condition, settings)
        found = md_frames(start, calculator, condition.settings(settings.every_fs), settings.every_fs)
        fit = [atoms for atoms in found.frames if _fit(_tidied(atoms, kind, settings), kind, start)]
        group = None
        for atoms in fit:
            frames.append(finished(atoms, kind.name, kind.boundary, group))
            group = group or frames[-1].info["uid"]
        notes += _missing(kind, condition, len(found.frames), len(fit), found.problem)
    return frames


def _tidied(atoms: Atoms, kind: MDKind, settings: SampleSettings) -> Atoms:
    """Atoms of a crystal back in the cell; a cluster, which turns and stretches, in the middle of a cell that fits."""
    if kind.boundary == "bulk":
        atoms.wrap()
    if kind.boundary == "cluster":
        atoms.center(vacuum=settings.vacuum_A / 2)
    return atoms


def _fit(atoms: Atoms, kind: MDKind, start: Atoms) -> bool:
    whole = atoms.cell.lengths().max() <= start.cell.lengths().max() + GROWTH_A
    return whole and objection(atoms, kind.boundary, kind.nearest_A) is None


def _start(kind: MDKind, condition: Condition, settings: SampleSettings) -> Atoms:
    """A frame of a static kind that is drawn for this run, of any of its cases."""
    starts = [KINDS[name] for name in kind.starts if KINDS[name].fewest <= settings.max_atoms]
    start = starts[condition.run % len(starts)]
    cases = start.within(settings.max_atoms)
    chosen = generator(settings.seed, kind.name, START, condition.run)
    case, turn = cases[int(chosen.integers(len(cases)))], int(chosen.integers(START_TURNS))
    return _drawn(start, case, (turn, START_TURNS, START + condition.run), settings, Known())


def _missing(kind: MDKind, condition: Condition, found: int, fit: int, problem: str | None) -> list[str]:
    where = f"{kind.name}, run {condition.run} at {condition.temperature_K:.0f} K"
    notes = [f"{where} ended early, with {found} of {condition.frames} frames: {problem}"] if problem else []
    if fit < found:
        notes.append(
            f"{where}: {found - fit} of {found} frames left out: atoms too close, vacuum gone or cluster in pieces"
        )
    return notes
