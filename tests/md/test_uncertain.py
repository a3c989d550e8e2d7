"""The uncertainty of the frames of a run: logged, warned of once, and a reason to stop."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from toy import PairPotential, UnsurePotential

from ru_calc.errors import SettingsError, UncertainError
from ru_calc.md import MDOutput, MDSettings, resume_md, run_md
from ru_calc.md.thermo import COLUMNS
from ru_calc.structures.build import build_structure

HOT = MDSettings(ensemble="nve", temperature_K=1500.0, steps=40, log_every=10)


def crystal():
    return build_structure("fcc", a_A=3.75, repeat=(2, 2, 2))


def with_changes(**changes) -> MDSettings:
    return MDSettings(**{**vars(HOT), **changes})


def test_the_largest_of_all_atoms_is_logged_and_only_logged_steps_are_looked_at(tmp_path: Path) -> None:
    calculator = UnsurePotential()
    result = run_md(crystal(), calculator, HOT, MDOutput(tmp_path / "run"), warn=lambda text: None)
    logged = result.thermo["uncertainty_eV_per_A"]
    assert calculator.looked == len(logged) == 5 and np.isfinite(logged).all()
    assert logged[-1] == pytest.approx(0.1 * np.linalg.norm(result.atoms.get_forces(), axis=1).max())
    with open(tmp_path / "run" / "thermo.csv", newline="") as file:
        written = [float(row["uncertainty_eV_per_A"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(written, logged, rtol=1e-9)


@pytest.mark.parametrize(("calculator", "log"), [(PairPotential(), True), (UnsurePotential(), False)])
def test_where_there_is_none_or_it_is_not_wanted_the_column_is_empty(tmp_path: Path, calculator, log: bool) -> None:
    result = run_md(crystal(), calculator, with_changes(log_uncertainty=log), MDOutput(tmp_path / "run"))
    assert np.isnan(result.thermo["uncertainty_eV_per_A"]).all()
    assert getattr(calculator, "looked", 0) == 0


def test_a_frame_above_the_threshold_is_warned_of_once() -> None:
    heard: list[str] = []
    run_md(crystal(), UnsurePotential(), HOT, warn=heard.append)
    assert len(heard) == 1
    assert heard[0].startswith("step 10 (0.0200 ps): the uncertainty of atom ")
    assert "eV/Å, above 0.100 eV/Å" in heard[0]
    run_md(crystal(), UnsurePotential(), with_changes(uncertain_above_eV_per_A=50.0), warn=heard.append)
    assert len(heard) == 1


def test_without_anybody_to_tell_it_is_a_warning_of_python() -> None:
    with pytest.warns(UserWarning, match="has not been trained on atoms like this"):
        run_md(crystal(), UnsurePotential(), HOT)


def test_a_run_stops_at_the_first_uncertain_frame_of_all_steps_and_keeps_it(tmp_path: Path) -> None:
    calculator, folder = UnsurePotential(), tmp_path / "run"
    settings = with_changes(stop_when_uncertain=True, log_every=40, uncertain_above_eV_per_A=0.2)
    with pytest.raises(UncertainError, match=r"^step \d+ \(0\.0\d+ ps\): the uncertainty of atom") as caught:
        run_md(crystal(), calculator, settings, MDOutput(folder))
    assert str(folder / "uncertain.extxyz") in str(caught.value)
    frame = ase.io.read(folder / "uncertain.extxyz")
    found = frame.arrays["uncertainty_eV_per_A"]
    assert found.max() > 0.2 and frame.info["step"] == calculator.looked - 1 < 40  # it looked at step 0, too
    np.testing.assert_allclose(found, 0.1 * np.linalg.norm(frame.get_forces(), axis=1), rtol=1e-6)
    frame.calc = PairPotential()  # as one that labels it would
    stored = ase.io.read(folder / "uncertain.extxyz").get_potential_energy()
    np.testing.assert_allclose(frame.get_potential_energy(), stored)
    assert not (folder / "final.extxyz").exists()


def test_a_run_without_a_folder_that_stops_says_where() -> None:
    with pytest.raises(UncertainError, match=r"above 0\.100 eV/Å$"):
        run_md(crystal(), UnsurePotential(), with_changes(stop_when_uncertain=True))


def test_a_calculator_without_uncertainty_cannot_stop_a_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no uncertainty; take a model that has one"):
        run_md(crystal(), PairPotential(), with_changes(stop_when_uncertain=True), MDOutput(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_threshold_of_no_use_is_refused(value: float) -> None:
    with pytest.raises(SettingsError, match="uncertain_above_eV_per_A"):
        MDSettings(uncertain_above_eV_per_A=value)


def test_a_log_of_an_earlier_version_is_continued_in_its_own_columns(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    output = MDOutput(folder, trajectory=None, checkpoint_every=20)
    run_md(crystal(), PairPotential(), with_changes(steps=20), output)
    log = folder / "thermo.csv"
    lines = [line.rpartition(",")[0] for line in log.read_text().splitlines()]
    log.write_text("\n".join(lines) + "\n")
    saved = folder / "checkpoint.npz"
    with np.load(saved) as file:
        arrays = dict(file)
    state = json.loads(str(arrays["text"]))
    del state["sha256"]  # which earlier versions did not write
    state["scalars"]["marks"]["thermo"] = log.stat().st_size
    arrays["text"] = np.array(json.dumps(state))
    np.savez(saved, **arrays)
    result = resume_md(folder, PairPotential(), 40)
    assert len(result.thermo["step"]) == 5 and np.isnan(result.thermo["uncertainty_eV_per_A"]).all()
    with open(log, newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {len(COLUMNS) - 1}
