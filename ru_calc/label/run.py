"""Labels frames, one after the other or many at a time, and keeps every one as soon as it is done."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from pathlib import Path

from ase import Atoms

from ru_calc.errors import DataError, SettingsError, UnphysicalError, reason
from ru_calc.label.executors import Submit, executor
from ru_calc.label.files import AppendedFile, failures_in, labels_in, opened, whole_bytes
from ru_calc.label.frames import check_frames, labelled_text, same_geometry, uid_of
from ru_calc.label.settings import IN_A_ROW, Labelling, LabelSettings
from ru_calc.label.tasks import Outcome, Task

Say = Callable[[str], None]
LOOK_S = 0.5  # how often the stop file is looked for


def label_frames(
    frames: Sequence[Atoms],
    labels: str | Path,
    settings: LabelSettings,
    say: Say = lambda line: None,
    advance: Callable[[int], object] = lambda count: None,
    source: str = "frames",
) -> Labelling:
    """Labels the frames that a file of labels does not hold yet, and appends each as soon as it is done.

    A frame is known by its `info["uid"]`, or by a hash of its geometry.  Frames that fail are listed in a second file,
    `LABELS.failed`.  A file `LABELS.stop` ends the run after the frames being computed.  Ctrl-C ends it at once; all
    frames done are kept, as they are after a kill.

    Args:
        frames: of ruthenium.
        labels: extxyz file, which is begun or continued.
        settings: with what, and where.
        say: takes lines about what happens.
        advance: takes the number of frames just settled.
        source: what to call the frames in messages.

    Raises:
        DataError: a frame that is not for ruthenium; two structures with one uid; a file that holds other labels.
        SettingsError: the calculator cannot be made, or the cluster not reached.
        OutputError: the file cannot be written, or another process is writing it.
        UnphysicalError: the first frames all failed.
    """
    labels = Path(labels)
    check_frames(frames, source)
    with opened(labels) as file:
        done = _continued(file, settings, say)
        with opened(beside(labels, ".failed")) as failed_file:
            _tidy(failed_file, set(done))
            failed = set() if settings.retry_failed else set(failures_in(failed_file.path))
            result = Labelling()
            queue = _to_do(frames, done, failed, result, source)
            _tell_start(labels, settings, queue, result, say)
            run = _Run(settings, file, failed_file, result, say, advance)
            if queue:
                with executor(settings) as submit:
                    run.all(queue, submit, beside(labels, ".stop"))
            _tidy(failed_file, set(done) | run.labelled)
            return result


def beside(labels: Path, suffix: str) -> Path:
    """A file that belongs to a file of labels."""
    return labels.with_name(labels.name + suffix)


def _continued(file: AppendedFile, settings: LabelSettings, say: Say) -> dict[str, Atoms]:
    """The frames that the file holds, by uid, after half of a last one was cut off."""
    size, whole = file.path.stat().st_size, whole_bytes(file.path)
    if whole < size:
        say(f"{file.path}: the last frame is half-written ({size - whole} bytes): it is cut off and labelled again")
        file.cut(whole)
    labelled = labels_in(file.path, settings.level_of_theory)
    _tell_of_others(file.path, labelled, settings, say)
    return {uid_of(atoms): atoms for atoms in labelled}


def _tell_of_others(path: Path, labelled: Sequence[Atoms], settings: LabelSettings, say: Say) -> None:
    """Says so if a file of the same level was begun with another calculator or other arguments."""
    if settings.preset:
        return
    mine = (settings.calculator, dict(settings.arguments))
    infos = [atoms.info for atoms in labelled if "code" in atoms.info]
    others = [info["code"] for info in infos if (info["code"], info.get("settings")) != mine]
    if others:
        say(
            f"warning: {len(others)} frames of {path} were labelled by {others[-1]} with other settings, under the "
            "same level of theory; if that is not one level, choose another --level and file"
        )


def _tidy(failures: AppendedFile, labelled: set[str]) -> None:
    """Takes the frames that have labels by now off the list of failures."""
    text = "".join(line for uid, line in failures_in(failures.path).items() if uid not in labelled)
    if failures.path.read_text(encoding="utf-8") != text:
        failures.cut(0)
        failures.append(text)


def _to_do(
    frames: Sequence[Atoms], done: dict[str, Atoms], failed: set[str], result: Labelling, source: str
) -> deque[tuple[str, Atoms]]:
    queue: dict[str, Atoms] = {}
    for k, atoms in enumerate(frames):
        uid = uid_of(atoms)
        known = done.get(uid, queue.get(uid))
        if known is not None and not same_geometry(atoms, known):
            raise DataError(
                f"{source}, frame {k} has the uid {uid} of another structure; give it another, or leave it out"
            )
        if uid in done:
            result.known += 1
        elif uid in queue:
            result.repeated += 1
        elif uid in failed:
            result.failed_before += 1
        else:
            queue[uid] = atoms
    return deque(queue.items())


def _tell_start(
    labels: Path, settings: LabelSettings, queue: deque[tuple[str, Atoms]], result: Labelling, say: Say
) -> None:
    say(f"{settings.level_of_theory}: {len(queue)} frames to label, {result.known} in {labels} already")
    if result.repeated:
        say(f"{result.repeated} frames stand more than once among those given, and are labelled once")
    if result.failed_before:
        say(f"{result.failed_before} frames failed in an earlier run and are not tried again (see --retry-failed)")


class _Run:
    """One run, from the first frame to the last."""

    def __init__(
        self,
        settings: LabelSettings,
        labels: AppendedFile,
        failures: AppendedFile,
        result: Labelling,
        say: Say,
        advance: Callable[[int], object],
    ) -> None:
        self.settings, self.labels, self.failures, self.result = settings, labels, failures, result
        self.say, self.advance = say, advance
        self.cost_s: defaultdict[str, float] = defaultdict(float)
        self.labelled: set[str] = set()
        self.held_back: list[str] = []  # failures before the first success, which may all be the calculator's

    def all(self, queue: deque[tuple[str, Atoms]], submit: Submit, stop: Path) -> None:
        """Labels all frames of the queue, in this order, or those until the stop file appears."""
        tasks = deque(self._task(uid, atoms) for uid, atoms in queue)
        running: dict[Future[Outcome], Task] = {}
        while tasks or running:
            if stop.exists():
                self.result.left += len(tasks)
                tasks.clear()
            while tasks and len(running) < self.settings.at_a_time:
                task = tasks.popleft()
                running[submit(task)] = task
            for future in wait(running, timeout=LOOK_S, return_when=FIRST_COMPLETED).done:
                again = self._settle(running.pop(future), _outcome_of(future))
                tasks.extendleft(again)
        self._write_failures()
        if self.result.left:
            stop.unlink(missing_ok=True)
            self.say(f"stopped by {stop}, which is removed")

    def _task(self, uid: str, atoms: Atoms) -> Task:
        s, bare = self.settings, Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        bare.info = dict(atoms.info)
        return Task(uid, bare, s.calculator, s.arguments, s.preset, 0, s.threads, s.limit_s)

    def _settle(self, task: Task, outcome: Outcome) -> list[Task]:
        """Writes what came of an attempt, or gives the next one."""
        self.cost_s[task.uid] += outcome.cpu_s or outcome.wall_s
        if outcome.refused:
            raise SettingsError(outcome.reason)
        if outcome.results:
            self._write(task, outcome)
            return []
        if task.attempt + 1 < self.settings.tries and not outcome.hopeless:
            self.say(f"{task.uid}: attempt {task.attempt + 1} failed ({outcome.reason}); again")
            return [replace(task, attempt=task.attempt + 1)]
        self._fail(task, outcome.reason)
        return []

    def _write(self, task: Task, outcome: Outcome) -> None:
        record = {"attempt": task.attempt, **outcome.record}
        text = labelled_text(task.atoms, task.uid, self.settings.level_of_theory, replace(outcome, record=record))
        self.labels.append(text)
        self.labelled.add(task.uid)
        self.result.done += 1
        self.result.cpu_s += outcome.cpu_s
        self._write_failures()
        n = len(task.atoms)
        energy = outcome.results.get("free_energy", outcome.results["energy"]) / n
        self.say(f"{task.uid}: {n} atom{'s' if n > 1 else ''}, {energy:.4f} eV/atom, {outcome.cpu_s:.1f} s")
        self.advance(1)

    def _fail(self, task: Task, why: str) -> None:
        self.result.failed.append((task.uid, why))
        self.say(f"{task.uid}: failed ({why})")
        self.advance(1)
        self.held_back.append(
            json.dumps(
                {
                    "uid": task.uid,
                    "reason": why,
                    "attempts": task.attempt + 1,
                    "cost_s": round(self.cost_s[task.uid], 1),
                },
                ensure_ascii=False,
            )
        )
        if self.result.done or self.settings.keep_going:
            self._write_failures()
        elif len(self.held_back) >= IN_A_ROW:
            raise UnphysicalError(
                f"the first {IN_A_ROW} frames all failed, the last with: {why}; mend the calculator, or use "
                "--keep-going (none of them is listed as failed)"
            )

    def _write_failures(self) -> None:
        if self.held_back:
            self.failures.append("".join(f"{line}\n" for line in self.held_back))
        self.held_back.clear()


def _outcome_of(future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except Exception as problem:  # a cluster that lost its worker
        return Outcome(reason=reason(problem)[:300])
