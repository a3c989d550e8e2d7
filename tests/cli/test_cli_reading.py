"""Files of other programs on the command line: options, what is said, paths with an at sign, raw forces of relax."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import read, write
from click.testing import CliRunner, Result
from labelled import LJ, assert_same_data, lj_frames
from toy import PairPotential

import ru_calc.cli.relax
from ru_calc.cli import main
from ru_calc.cli.reading import reading_words
from ru_calc.dataset import Dataset, read_dataset
from ru_calc.structures.build import build_structure

LENNARD_JONES = ["--calculator", "ase.calculators.lj:LennardJones", "--calculator-args", json.dumps(LJ)]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_renamed(path: str, names: dict[str, str], factor: float = 1.0, count: int = 8) -> Dataset:
    """Lennard-Jones frames whose labels have other names; the data set that they are."""
    frames = lj_frames(count)
    bare = []
    for atoms in frames:
        frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        frame.info = dict(atoms.info)
        for label, name in names.items():
            value = factor * atoms.calc.results[label]
            (frame.arrays if label == "forces" else frame.info)[name] = value
        bare.append(frame)
    write(path, bare)
    return Dataset.from_atoms(frames)


def test_convert_takes_columns_and_units_that_are_named(here):
    expected = write_renamed("a.extxyz", {"energy": "U", "forces": "gradient"}, 1 / 27.211386)
    refused = call("convert", "a.extxyz", "a.h5")
    assert refused.exit_code == 1
    for words in ("their columns are: U, gradient", "--energy-key"):
        assert words in refused.stderr
    options = ["--energy-key", "U", "--energy-unit", "Ha", "--forces-key", "gradient", "--forces-sign", "gradient"]
    assert "give --forces-unit" in call("convert", "a.extxyz", "a.h5", *options).stderr
    result = call("convert", "a.extxyz", "a.h5", *options, "--forces-unit", "Ha/Angstrom")
    assert result.exit_code == 0, result.output
    assert "energy taken from: U (8 frames)" in result.output and "stress: missing" in result.output
    found = read_dataset("a.h5")
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-6)
    np.testing.assert_allclose(found.forces, -expected.forces, atol=1e-6)


def test_evaluate_reads_files_of_other_programs_and_says_what_it_took(here):
    write_renamed("a.extxyz", {"energy": "REF_energy", "forces": "mine"})
    result = call("evaluate", "a.extxyz@:4", *LENNARD_JONES, "--forces-key", "mine", "--shift", "none")
    assert result.exit_code == 0, result.output
    assert "a.extxyz@:4: read 4 frames from 1 file" in result.output
    assert "forces taken from: mine (4 frames)" in result.output and "4 of 4 frames" in result.output
    without = call("evaluate", "a.extxyz", *LENNARD_JONES)
    assert "left out: column mine of 8 frames, which looks like forces; --forces-key mine takes it" in without.output


def test_fit_reads_files_of_other_programs_and_says_what_it_took(here, monkeypatch):
    expected = write_renamed("a.extxyz", {"energy": "qm", "forces": "force", "stress": "stress"})
    fitted = []
    monkeypatch.setattr("ru_calc.fit.run.run_fit", lambda fit, *_rest: fitted.append(fit.dataset))
    result = call("fit", "a.extxyz", "-o", "run", "--energy-key", "qm")
    assert result.exit_code == 0, result.output
    for words in ("energy taken from: qm (8 frames)", "forces taken from: force (8 frames)", "8 frames, "):
        assert words in result.output
    assert_same_data(fitted[0], expected, 1e-7)


def test_the_words_of_a_resumed_fit_hold_the_options_of_reading():
    options = {"format": "extxyz", "energy_key": ("U", "E"), "stress_unit": "kbar", "energy_per_atom": True,
               "forces_sign": "force", "stress_sign": "vasp", "virial_key": (), "elements": "Ru"}  # fmt: skip
    assert reading_words(options) == [
        "--format", "extxyz", "--elements", "Ru", "--energy-key", "U", "--energy-key", "E", "--stress-unit", "kbar",
        "--energy-per-atom", "--stress-sign", "vasp",
    ]  # fmt: skip


@pytest.fixture
def toy(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ru_calc.cli.relax, "make_calculator", lambda *args, **kwargs: PairPotential())
    return here


def test_relax_reads_paths_with_an_at_sign_and_names_its_output_after_the_file(toy):
    atoms = build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))
    frames = [atoms, atoms.repeat((1, 1, 2))]
    (toy / "run@300K").mkdir()
    write("run@300K/final@2.extxyz", frames)
    for argument, n in (("run@300K/final@2.extxyz", 64), ("run@300K/final@2.extxyz@0", 32)):
        result = call("relax", argument, "--steps", 0, "--overwrite", "--fmax-eV-per-A", 100)
        assert result.exit_code == 0, result.output
        assert len(read(Path("final@2-relaxed.extxyz"), do_not_split_by_at_sign=True)) == n


def test_relax_stores_raw_forces(toy):
    atoms = build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))
    atoms.rattle(0.1, seed=1)
    atoms.set_constraint(FixAtoms(range(8)))
    write("slab.extxyz", atoms)
    assert call("relax", "slab.extxyz", "--steps", 2, "-o", "r.extxyz").exit_code == 1  # not converged
    relaxed = read("r.extxyz")
    stored = relaxed.calc.results["forces"]
    relaxed.calc = PairPotential()
    np.testing.assert_allclose(stored, relaxed.get_forces(apply_constraint=False), atol=1e-6)
    assert np.abs(stored[:8]).max() > 0.05 and len(relaxed.constraints) == 1
