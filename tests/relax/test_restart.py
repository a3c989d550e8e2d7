"""A relaxation that was interrupted or killed goes on to the same end."""

from __future__ import annotations

import os
import signal

import ase.io
import numpy as np
import pytest
from ase.constraints import FixAtoms, Hookean
from ase.io.trajectory import Trajectory
from click.testing import CliRunner
from conftest import small_model
from forked import another_process, ended, forked
from toy import PairPotential, RememberingPotential, Stopping

from ru_calc.cli import main
from ru_calc.errors import DataError, OutputError
from ru_calc.files import owned_file
from ru_calc.modelfiles.load import save_model
from ru_calc.relax import RelaxOutput, RelaxSettings, read_relaxation, relax_structure, resume_relaxation, trajectory
from ru_calc.relax.trajectory import RESET_EVERY
from ru_calc.structures.build import build_structure

TIGHT = {"fmax_eV_per_A": 1e-5, "smax_GPa": 1e-4, "steps": 60}


def rough():
    atoms = build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))
    atoms.rattle(0.1, seed=1)
    atoms.set_constraint([FixAtoms([0]), Hookean(1, 2, k=1.0, rt=2.0)])
    atoms.set_array("layer", np.arange(len(atoms)) / 3)
    return atoms


def same_bits(one, two) -> bool:
    return all(
        np.array_equal(a, b)
        for a, b in (
            (one.positions, two.positions),
            (one.cell.array, two.cell.array),
            (one.get_forces(), two.get_forces()),
            (one.arrays["layer"], two.arrays["layer"]),
        )
    )


class StoppingAndRemembering(Stopping, RememberingPotential):
    """Presses Ctrl-C, and has a memory that a restart loses."""


@pytest.mark.parametrize("optimizer", ["lbfgs", "bfgs", "fire"])
@pytest.mark.parametrize("cell", ["none", "hydrostatic", "full"])
def test_a_restart_is_the_unbroken_relaxation_to_the_last_bit(tmp_path, optimizer, cell):
    settings = RelaxSettings(cell=cell, optimizer=optimizer, **TIGHT)
    whole, steps = RelaxOutput(tmp_path / "whole.traj"), []
    one = relax_structure(rough(), RememberingPotential(), settings, output=whole)
    assert one.last.step > 2 * RESET_EVERY
    output = RelaxOutput(tmp_path / "cut.traj", {"model": "x"})
    half = relax_structure(rough(), StoppingAndRemembering(RESET_EVERY + 5), settings, output=output)
    assert half.interrupted and not half.converged and RESET_EVERY < half.last.step < RESET_EVERY + 5
    again = StoppingAndRemembering(RESET_EVERY)
    resume_relaxation(tmp_path / "cut.traj", again, report=lambda state: steps.append(state.step))
    assert steps[0] == RESET_EVERY, "what is known is not reported again"
    two = resume_relaxation(tmp_path / "cut.traj", RememberingPotential())
    assert same_bits(one.atoms, two.atoms) and repr((two.first, two.last)) == repr((one.first, one.last))
    assert two.converged == one.converged and not two.interrupted
    assert read_relaxation(tmp_path / "cut.traj").origin == {"model": "x"}
    frames = [Trajectory(str(tmp_path / name)) for name in ("whole.traj", "cut.traj")]
    assert len(frames[0]) == len(frames[1]) == one.last.step + 1
    for a, b in zip(*frames, strict=True):
        assert np.array_equal(a.positions, b.positions) and np.array_equal(
            a.calc.results["forces"], b.calc.results["forces"]
        )


def test_without_the_reset_or_the_history_a_restart_would_end_elsewhere(tmp_path, monkeypatch):
    settings = RelaxSettings(**TIGHT)
    one = relax_structure(rough(), RememberingPotential(), settings)
    output = RelaxOutput(tmp_path / "cut.traj")
    half = relax_structure(rough(), StoppingAndRemembering(RESET_EVERY + 5), settings, output=output)
    fresh = relax_structure(half.atoms, RememberingPotential(), settings)
    assert not same_bits(one.atoms, fresh.atoms)
    monkeypatch.setattr(trajectory, "RESET_EVERY", 10**6)
    assert not same_bits(one.atoms, relax_structure(rough(), RememberingPotential(), settings).atoms)


def test_the_trajectory_holds_raw_labels_and_every_step(tmp_path):
    states, output = [], RelaxOutput(tmp_path / "x.traj")
    relax_structure(rough(), PairPotential(), RelaxSettings(steps=3), states.append, output)
    frames = ase.io.read(tmp_path / "x.traj", ":")
    assert len(frames) == len(states) == 4
    for atoms in frames:
        atoms.constraints, stored = [], atoms.calc.results
        expected = PairPotential().get_forces(atoms)
        np.testing.assert_allclose(stored["forces"], expected, atol=1e-12)
        assert abs(stored["forces"][0]).max() > 0


def test_a_restart_needs_the_same_calculator_a_trajectory_of_ours_and_no_other_writer(tmp_path):
    path = tmp_path / "x.traj"
    with pytest.raises(DataError, match="there is no trajectory"):
        resume_relaxation(path, PairPotential())
    relax_structure(rough(), PairPotential(), RelaxSettings(steps=3), output=RelaxOutput(path))

    class Other(PairPotential):
        def calculate(self, *arguments, **more):
            super().calculate(*arguments, **more)
            self.results["energy"] += 1.0

    with pytest.raises(DataError, match=r"energy differs by 0\.03"):
        resume_relaxation(path, Other())
    with another_process(lambda: owned_file(path)), pytest.raises(OutputError, match="in use"):
        resume_relaxation(path, PairPotential())
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    with pytest.raises(DataError, match="damaged"):
        resume_relaxation(path, PairPotential())
    ase.io.write(path, rough())
    with pytest.raises(DataError, match="from another program"):
        resume_relaxation(path, PairPotential())


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a model and a rough crystal of a few atoms."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "m.safetensors", small_model(), {})
    atoms = build_structure("hcp", n_atoms=8)
    atoms.rattle(0.05, seed=1)
    ase.io.write("in.extxyz", atoms)
    return tmp_path


RELAX = ["relax", "in.extxyz", "--model", "m.safetensors", "--fmax-eV-per-A", "1e-9", "--steps", "30"]


def call(*arguments):
    return CliRunner().invoke(main, list(arguments))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_command_goes_on_after_a_signal_from_any_folder(here, monkeypatch, number):
    call(*RELAX, "-o", "whole.extxyz")

    def command() -> int:
        from ru_calc.relax import run

        def told(report, state, asked, original=run._tell):
            original(report, state, asked)
            if state.step == 14:
                os.kill(os.getpid(), number)

        run._tell = told
        return call(*RELAX, "-o", "cut.extxyz").exit_code

    assert ended(forked(command)) == (-9 if number == signal.SIGKILL else 130)
    assert (here / "cut.extxyz").exists() == (number != signal.SIGKILL), "the last geometry"
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")
    again = call("relax", "--restart", "../cut.traj")
    assert again.exit_code == 1 and "not converged after 30 steps" in again.stderr
    assert (here / "cut.extxyz").read_bytes() == (here / "whole.extxyz").read_bytes()


def test_the_command_refuses_in_one_line_what_would_lose_a_trajectory(here):
    assert call(*RELAX).exit_code == 1
    for arguments, words in (
        ([*RELAX, "-o", "new.extxyz", "--trajectory", "in-relaxed.traj"], "--restart in-relaxed.traj continues that"),
        ([*RELAX, "-o", "new.extxyz", "--trajectory", "x.extxyz"], "its name must end in .traj"),
        (["relax", "--restart", "in-relaxed.traj", "--cell", "full"], "--cell cannot change in a restart"),
        (["relax"], "give a STRUCTURE to relax, or --restart"),
    ):
        result = call(*arguments)
        assert result.exit_code in (1, 2) and words in result.stderr.splitlines()[-1], result.output
    more = call("relax", "--restart", "in-relaxed.traj", "--steps", "33")
    assert "from step 30" in more.stdout and "not converged after 33 steps" in more.stderr
    call(*RELAX[:-1], "33", "-o", "whole.extxyz", "--trajectory", "none")
    assert (here / "in-relaxed.extxyz").read_bytes() == (here / "whole.extxyz").read_bytes()
    assert sorted(path.suffix for path in here.glob("whole*")) == [".extxyz"]


def test_a_restart_knows_the_model_of_its_relaxation_by_its_hash(here):
    assert call(*RELAX).exit_code == 1
    (here / "m.safetensors").rename(here / "moved.safetensors")
    lost = call("relax", "--restart", "in-relaxed.traj", "--steps", "31")
    assert "give the model of the run by --model" in lost.stderr and lost.exit_code == 1
    other = call("relax", "--restart", "in-relaxed.traj", "--steps", "31", "--model", "default")
    assert "another one is in" in other.stderr
    found = call("relax", "--restart", "in-relaxed.traj", "--steps", "31", "--model", "moved.safetensors")
    assert "not converged after 31 steps" in found.stderr
