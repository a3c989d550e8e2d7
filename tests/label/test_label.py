"""Labelling: every frame is kept as soon as it is done, known frames are skipped, failures are listed."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import read, write
from labelled import LJ, lj_frames

from ru_calc.dataset.convert import convert
from ru_calc.errors import DataError, OutputError, SettingsError, UnphysicalError
from ru_calc.label import Labelling, LabelSettings, label_frames, run
from ru_calc.label.attempt import Labeller
from ru_calc.label.files import opened, whole_bytes
from ru_calc.label.frames import same_geometry, uid_of
from ru_calc.label.tasks import Outcome, Task

LENNARD_JONES = LabelSettings(calculator="ase.calculators.lj:LennardJones", arguments=LJ, attempts=1)


def odd(fault: str, **arguments: object) -> LabelSettings:
    """Settings with a calculator that goes wrong."""
    return LabelSettings(calculator="odd_calculators:Odd", arguments={"fault": fault, **arguments})


def bare(count: int) -> list[Atoms]:
    frames = lj_frames(count)
    for atoms in frames:
        atoms.calc = None
    return frames


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for labels; attempts are computed in this process, one after the other."""

    @contextmanager
    def executor(settings: LabelSettings) -> Iterator[Callable[[Task], Future[Outcome]]]:
        labeller = Labeller(str(tmp_path))

        def submit(task: Task) -> Future[Outcome]:
            future: Future[Outcome] = Future()
            future.set_result(labeller.attempt(task))
            return future

        yield submit

    monkeypatch.setattr(run, "executor", executor)
    return tmp_path


def test_labels_are_those_of_the_calculator_and_say_what_made_them(here):
    expected = lj_frames(6)
    result = label_frames(bare(6), here / "l.extxyz", LENNARD_JONES)
    assert (result.done, result.known, result.failed, result.left) == (6, 0, [], 0)
    for atoms, reference in zip(read(here / "l.extxyz", ":"), expected, strict=True):
        results = atoms.calc.results
        assert results["energy"] == pytest.approx(reference.get_potential_energy(), abs=1e-10)
        assert results["free_energy"] == results["energy"]
        np.testing.assert_allclose(results["forces"], reference.get_forces(), atol=1e-7)
        np.testing.assert_allclose(results["stress"], reference.get_stress(), atol=1e-10)
        info = atoms.info
        assert info["config_type"] == reference.info["config_type"] and info["group_id"] == reference.info["group_id"]
        assert info["settings"] == LJ and info["code"] == "ase.calculators.lj:LennardJones"
        assert info["version"].startswith("ase 3.") and info["attempt"] == 0 and info["wall_s"] >= 0 <= info["cpu_s"]
        assert info["level_of_theory"].startswith("ase.calculators.lj:LennardJones {")
    assert [path.name for path in here.iterdir()] == ["l.extxyz"]


def test_the_labels_are_a_data_set(here):
    label_frames(bare(6), here / "l.extxyz", LENNARD_JONES)
    conversion = convert([here / "l.extxyz"])
    assert conversion.energies == {"free_energy": 6} and conversion.unlabelled == 0
    assert set(conversion.dataset.group_id) == {"run_0", "run_1", "run_2"}


def test_single_values_of_info_are_kept_and_those_of_an_earlier_label_are_not(here):
    (atoms,) = bare(1)
    atoms.info |= {"T_K": 300.5, "step": np.int64(7), "kpts": np.array([2, 2, 2]), "kdens": 4.0, "settings": "old"}
    del atoms.info["group_id"]
    label_frames([atoms], here / "l.extxyz", LENNARD_JONES)
    info = read(here / "l.extxyz").info
    assert info["T_K"] == 300.5 and info["step"] == 7 and info["settings"] == LJ
    assert not {"kpts", "kdens", "group_id"} & set(info)


def test_stress_is_left_out_where_there_is_no_volume_and_constraints_do_not_touch_forces(here):
    free, fixed = bare(2)
    free.pbc = (True, True, False)
    fixed.rattle(0.1, seed=1)
    fixed.set_constraint(FixAtoms([0]))
    label_frames([free, fixed], here / "l.extxyz", LENNARD_JONES)
    first, second = read(here / "l.extxyz", ":")
    assert "stress" not in first.calc.results and "stress" in second.calc.results and not second.constraints
    assert len(second) == 1 or np.abs(second.get_forces()[0]).max() > 0


def test_known_and_repeated_frames_are_skipped_by_uid_or_geometry(here):
    frames = bare(4)
    frames[1].info["uid"] = "mine"
    frames[0].positions = np.round(frames[0].positions, 6)
    label_frames(frames[:2], here / "l.extxyz", LENNARD_JONES)
    shifted = frames[0].copy()
    shifted.positions += 2e-7
    result = label_frames([*frames, shifted, frames[3].copy()], here / "l.extxyz", LENNARD_JONES)
    assert (result.done, result.known + result.repeated) == (2, 4)
    uids = [atoms.info["uid"] for atoms in read(here / "l.extxyz", ":")]
    assert len(set(uids)) == 4 and uids[1] == "mine"


def test_a_uid_tells_geometries_apart():
    atoms = bare(1)[0]
    moved, strained, other, free = (atoms.copy() for _ in range(4))
    moved.positions[0, 0] += 2e-6
    strained.cell[0, 0] += 2e-6
    other.numbers[0] = 43
    free.pbc = False
    assert len({uid_of(frame) for frame in (atoms, moved, strained, other, free)}) == 5
    assert uid_of(atoms) == uid_of(atoms.copy()) == "g929f9a53a7ef234d", "a uid is for ever"
    zero = Atoms("Ru", [[0.0, 0.0, 0.0]])
    assert uid_of(zero) == uid_of(Atoms("Ru", [[-0.0, -1e-9, 0.0]]))
    assert same_geometry(atoms, atoms.copy()) and not same_geometry(atoms, free)


def test_one_uid_for_two_structures_is_refused(here):
    frames = bare(2)
    for atoms in frames:
        atoms.info["uid"] = "a"
    with pytest.raises(DataError, match="frame 1 has the uid a of another structure"):
        label_frames(frames, here / "l.extxyz", LENNARD_JONES)
    label_frames(frames[:1], here / "l.extxyz", LENNARD_JONES)
    with pytest.raises(DataError, match="frame 0 has the uid a of another structure"):
        label_frames(frames[1:], here / "l.extxyz", LENNARD_JONES)
    assert len(read(here / "l.extxyz", ":")) == 1


@pytest.mark.parametrize("back", [1, 3, 200, 10**6])
def test_half_of_a_last_frame_is_cut_off_and_labelled_again(here, back):
    frames, path = bare(3), here / "l.extxyz"
    label_frames(frames[:2], path, LENNARD_JONES)
    two = path.read_bytes()
    label_frames(frames, path, LENNARD_JONES)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(len(two) + 1, len(whole) - back)])
    said: list[str] = []
    result = label_frames(frames, path, LENNARD_JONES, said.append)
    assert (result.known, result.done) == (2, 1) and "half-written" in said[0]
    assert path.read_bytes()[: len(two)] == two and len(read(path, ":")) == 3


def test_whole_frames_are_counted_to_the_byte(tmp_path):
    path = tmp_path / "l.extxyz"
    write(path, lj_frames(3))
    text = path.read_bytes()
    ends = [whole_bytes(path)]
    cuts = [*range(0, len(text), 7), *(k + 1 for k in range(len(text)) if text[k : k + 1] == b"\n")]
    for k in cuts:
        path.write_bytes(text[:k])
        ends.append(whole_bytes(path))
    assert ends[0] == len(text) and len(set(ends)) == 4 and max(np.array(ends[1:]) - cuts) == 0
    path.write_bytes(text + b"\0" * 100)
    assert whole_bytes(path) == len(text)


@pytest.mark.parametrize("fault", ["raise", "nan", "unconverged"])
def test_a_frame_that_fails_is_tried_again_listed_and_then_left_alone(here, fault):
    frames, path, said = bare(6), here / "l.extxyz", []
    settings = odd(fault, from_atoms=5)
    result = label_frames(frames, path, settings, said.append)
    assert result.done == 5 and len(result.failed) == 1 and any("attempt 1 failed" in line for line in said)
    (line,) = (here / "l.extxyz.failed").read_text().splitlines()
    failure = json.loads(line)
    assert failure["uid"] == uid_of(frames[2]) and failure["attempts"] == 2 and "\n" not in failure["reason"]
    assert {"raise": "did not converge", "nan": "forces is not finite", "unconverged": "not converge"}[fault] in line
    again = label_frames(frames, path, settings)
    assert (again.done, again.known, again.failed_before, again.failed) == (0, 5, 1, [])
    mended = replace(settings, arguments={"fault": ""}, level=settings.level_of_theory, retry_failed=True)
    assert label_frames(frames, path, mended).done == 1
    assert not (here / "l.extxyz.failed").exists(), "nothing is left that failed"


def test_a_second_attempt_may_succeed(here):
    result = label_frames(bare(2), here / "l.extxyz", odd("raise", once=str(here / "once")))
    assert (result.done, result.failed) == (2, [])
    assert [atoms.info["attempt"] for atoms in read(here / "l.extxyz", ":")] == [1, 0]


def test_a_calculator_that_always_fails_ends_the_run_without_a_list(here):
    frames = bare(8)
    with pytest.raises(UnphysicalError, match=r"the first 5 frames all failed, .* did not converge; .* --keep-going"):
        label_frames(frames, here / "l.extxyz", odd("raise"))
    assert not list(here.iterdir())
    result = label_frames(frames, here / "l.extxyz", replace(odd("raise"), keep_going=True))
    assert len(result.failed) == 8 and len((here / "l.extxyz.failed").read_text().splitlines()) == 8


def test_trying_again_what_failed_keeps_the_list_until_there_are_labels(here):
    label_frames(bare(8), here / "l.extxyz", replace(odd("raise"), keep_going=True))
    with pytest.raises(UnphysicalError, match="the first 5 frames all failed"):
        label_frames(bare(8), here / "l.extxyz", replace(odd("raise"), retry_failed=True))
    assert label_frames(bare(8), here / "l.extxyz", odd("raise")).failed_before == 8


def test_labels_of_one_level_by_another_calculator_are_told(here):
    said: list[str] = []
    label_frames(bare(2), here / "l.extxyz", replace(odd("", sleep_s=0.0), level="toy"), said.append)
    label_frames(bare(3), here / "l.extxyz", replace(odd("", sleep_s=0.0), level="toy"), said.append)
    assert not any("warning" in line for line in said)
    label_frames(bare(4), here / "l.extxyz", replace(odd("", sleep_s=0.001), level="toy"), said.append)
    assert any("warning: 3 frames of" in line and "with other settings" in line for line in said)


def test_few_frames_that_all_fail_are_listed(here):
    assert len(label_frames(bare(3), here / "l.extxyz", odd("raise")).failed) == 3
    assert len((here / "l.extxyz.failed").read_text().splitlines()) == 3


def test_half_a_line_of_failures_is_cut_off(here):
    label_frames(bare(3), here / "l.extxyz", odd("raise", from_atoms=2))
    failed = here / "l.extxyz.failed"
    whole = failed.read_text()
    failed.write_text(whole[:-10])
    result = label_frames(bare(3), here / "l.extxyz", odd("raise", from_atoms=2))
    lines = [json.loads(line)["uid"] for line in failed.read_text().splitlines()]
    assert result.failed_before + len(result.failed) == len(lines) == len(set(lines)) == len(whole.splitlines())
    failed.write_text("g1 some words\n")
    with pytest.raises(DataError, match="line 1 is not a failure of ru-calc label"):
        label_frames(bare(3), here / "l.extxyz", LENNARD_JONES)


def test_labels_of_another_level_are_refused(here):
    path = here / "l.extxyz"
    label_frames(bare(1), path, LENNARD_JONES)
    before = path.read_bytes()
    with pytest.raises(DataError, match=r"frame 0 is labelled at ase.calculators.lj:LennardJones .*, not at other"):
        label_frames(bare(2), path, replace(LENNARD_JONES, level="other"))
    assert path.read_bytes() == before
    write(path, lj_frames(1))
    with pytest.raises(DataError, match="at a level of theory that it does not state"):
        label_frames(bare(2), path, LENNARD_JONES)
    path.write_text("a, b\n1, 2\n")
    with pytest.raises(DataError, match="line 1 is 'a, b', not a number of atoms"):
        label_frames(bare(2), path, LENNARD_JONES)
    assert path.read_text() == "a, b\n1, 2\n"


def test_frames_of_other_elements_are_refused_by_number(here):
    frames = bare(3)
    frames[2].numbers[0] = 78
    with pytest.raises(DataError, match="plan, frame 2: atom 0 is Pt; this potential is for ruthenium only"):
        label_frames(frames, here / "l.extxyz", LENNARD_JONES, source="plan")
    with pytest.raises(DataError, match="frames, frame 0: it has no atoms"):
        label_frames([Atoms()], here / "l.extxyz", LENNARD_JONES)
    assert not list(here.iterdir())


def test_a_stop_file_ends_the_run_and_is_removed(here):
    frames, path, stop = bare(4), here / "l.extxyz", here / "l.extxyz.stop"
    result = label_frames(frames, path, LENNARD_JONES, lambda line: stop.touch() if "eV/atom" in line else None)
    assert (result.done, result.left) == (1, 3) and not stop.exists()
    assert label_frames(frames, path, LENNARD_JONES).done == 3


def test_an_interruption_keeps_what_is_done(here):
    def interrupt(line: str) -> None:
        if "eV/atom" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label_frames(bare(4), here / "l.extxyz", LENNARD_JONES, interrupt)
    assert len(read(here / "l.extxyz", ":")) == 1
    assert label_frames(bare(4), here / "l.extxyz", LENNARD_JONES) == Labelling(
        done=3, known=1, cpu_s=pytest.approx(0, abs=5)
    )


def test_a_full_disk_leaves_whole_frames_only(here):
    """The limit on the size of a file lets the kernel write a part, as a full disk does."""
    path = here / "l.extxyz"
    label_frames(bare(2), path, LENNARD_JONES)
    before = path.read_bytes()
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
        with pytest.raises(OutputError, match=r"cannot be written .* what it holds is whole: make room"):
            label_frames(bare(4), path, LENNARD_JONES)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert label_frames(bare(4), path, LENNARD_JONES).done == 2


def test_two_runs_never_write_one_file(here):
    with opened(here / "l.extxyz"), pytest.raises(OutputError, match="is being written by another process"):
        label_frames(bare(1), here / "l.extxyz", LENNARD_JONES)


def test_a_calculator_that_cannot_be_made_ends_the_run(here):
    for settings, words in (
        (LabelSettings(calculator="no.such:Thing"), "cannot be imported"),
        (replace(LENNARD_JONES, arguments={"potential": "a"}, calculator="ase.calculators.eam:EAM"), "failed"),
    ):
        with pytest.raises(SettingsError, match=words):
            label_frames(bare(2), here / "l.extxyz", settings)
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "give a calculator"),
        ({"calculator": "a:B", "preset": "gpaw"}, "not both"),
        ({"preset": "vasp"}, "one of gpaw"),
        ({"preset": "gpaw", "arguments": {"xc": "LDA"}}, "fixes its arguments"),
        ({"preset": "gpaw", "level": "PBE"}, "fixes its arguments"),
        ({"calculator": "a:B", "workers": 0}, "workers is 0"),
        ({"calculator": "a:B", "limit_min": 0.0}, "limit_min is 0.0"),
        ({"calculator": "a:B", "dask": "d", "parsl": Path("p.py")}, "dask and parsl exclude each other"),
    ],
)
def test_settings_out_of_range_are_refused(changes, words):
    with pytest.raises(SettingsError, match=words):
        LabelSettings(**changes)


def test_defaults_are_those_of_the_calculator_or_the_preset():
    own, preset = LabelSettings(calculator="a:B"), LabelSettings(preset="gpaw")
    assert (own.tries, own.limit_s, own.at_a_time, own.level_of_theory) == (2, None, 1, "a:B")
    assert (preset.tries, preset.limit_s) == (3, 1500) and preset.level_of_theory.startswith("GPAW PW 400 eV PBE")
    assert LabelSettings(calculator="a:B", dask="tcp://x").at_a_time == 100
