"""The `md` protocol: a reduced run gives every table, a killed one goes on, and unlike folders are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from labelled import quiet

from ru_calc import RuCalculator, read_dataset
from ru_calc.dataset import split_by_group
from ru_calc.errors import SettingsError
from ru_calc.fit.run import FitInput, run_fit
from ru_calc.fit.settings import with_changes
from ru_calc.fit.timing import epoch_cpu_s
from ru_calc.potentials import FAMILIES
from ru_calc.studies.compare import measure, report
from ru_calc.studies.compare.fits import fit_family
from ru_calc.studies.compare.run import compare_families, measure_family, quick_part
from ru_calc.studies.compare.settings import COMPARED, QUICK, MDProtocol, check_families
from ru_calc.studies.compare.start import check_start

SOME = ("schnet", "calhousnet")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("compare")
    return folder, compare_families(read_dataset("distilled"), folder, QUICK, say=quiet)


def test_all_families_but_the_papers_are_compared() -> None:
    assert {*COMPARED} == {*FAMILIES} - {"paper"} and len(COMPARED) > 4


def test_a_reduced_run_fills_every_table(compared: tuple[Path, dict]) -> None:
    folder, results = compared
    text = (folder / "table.md").read_text()
    for heading in ("Errors per split", "What decides in practice", "Properties", "Which to pick", "per config type"):
        assert heading in text
    assert set(results["families"]) == set(COMPARED)
    for family, found in results["families"].items():
        for split in ("train", "validation", "test"):
            row = next(row for row in found["errors"] if (row["split"], row["config_type"]) == (split, "all"))
            assert np.isfinite(
                [row["energy_MAE_meV_per_atom"], row["forces_MSE_eV2_per_A2"], row["stress_RMSE_GPa"]]
            ).all()
            assert f"| {family} | {split} |" in text
    stored = json.loads((folder / "results.json").read_text())["families"]
    assert stored.keys() == results["families"].keys()
    for family, found in stored.items():
        expected = report.test_row(results["families"][family])["forces_MSE_eV2_per_A2"]
        assert report.test_row(found)["forces_MSE_eV2_per_A2"] == pytest.approx(expected, rel=1e-5)
    assert (folder / "figure.png").stat().st_size > 1000


def test_the_errors_of_the_table_are_those_of_the_stored_model(compared: tuple[Path, dict]) -> None:
    folder, results = compared
    dataset = quick_part(read_dataset("distilled"), QUICK.seed)
    split = split_by_group(dataset, QUICK.split, QUICK.seed)
    part = dataset.select(split["test"])
    calculator = RuCalculator(folder / "fits" / "ani" / "best.safetensors", "cpu", "float64")
    errors = []
    for k in range(len(part)):
        atoms = part.atoms(k)
        atoms.calc = calculator
        errors.append(abs(atoms.get_potential_energy() - part.energy[k]) / len(atoms))
    expected = report.test_row(results["families"]["ani"])["energy_MAE_meV_per_atom"]
    assert 1000 * np.mean(errors) == pytest.approx(expected, rel=1e-9)


def test_what_is_whole_is_not_made_again(compared: tuple[Path, dict], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, results = compared
    monkeypatch.setattr(measure, "errors", lambda *_: pytest.fail("measured again"))
    again = compare_families(read_dataset("distilled"), folder, QUICK, resume=True, say=quiet)
    assert again["families"] == results["families"]


def test_a_fit_that_was_killed_goes_on_to_the_same_model(
    compared: tuple[Path, dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first of two epochs, with the plan of epochs kept."""
    dataset = quick_part(read_dataset("distilled"), 0)
    two = MDProtocol(split=QUICK.split, epochs=2, quick=True)
    whole = fit_family("calhousnet", dataset, tmp_path / "whole", two, say=quiet)

    def stop(line: str) -> None:
        if "epoch    1/2" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_family("calhousnet", dataset, tmp_path / "cut", two, say=stop)
    assert not (tmp_path / "cut" / "fits" / "calhousnet" / "metrics.json").exists()
    cut = fit_family("calhousnet", dataset, tmp_path / "cut", two, say=quiet)
    split = split_by_group(dataset, two.split, 0)
    assert json.dumps(measure.errors(cut, dataset, split)) == json.dumps(measure.errors(whole, dataset, split))


def test_another_comparison_in_the_folder_is_refused(compared: tuple[Path, dict], tmp_path: Path) -> None:
    folder, _ = compared
    data = read_dataset("distilled")
    with pytest.raises(SettingsError, match="already holds a comparison; use --resume"):
        compare_families(data, folder, QUICK, say=quiet)
    with pytest.raises(SettingsError, match="seed: 0 → 4"):
        check_start(folder, MDProtocol(**{**QUICK.record(), "seed": 4}), resume=True)
    with pytest.raises(SettingsError, match=r"data: .* → other"):
        check_start(folder, QUICK, resume=True, data="other")
    with pytest.raises(SettingsError, match="no comparison to resume"):
        compare_families(data, tmp_path, QUICK, resume=True, say=quiet)
    (tmp_path / "protocol.json").write_text("{")
    with pytest.raises(SettingsError, match="damaged"):
        check_start(tmp_path, QUICK, resume=True)
    with pytest.raises(SettingsError, match="damaged"):
        compare_families(data, tmp_path, QUICK, resume=True, say=quiet)


@pytest.mark.parametrize("names", [("nonesuch",), ("paper",), ("ani", "ani"), ()])
def test_families_that_cannot_be_compared_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match=r"name each once|cannot be compared"):
        check_families(names)


@pytest.mark.parametrize("change", [{"budget_min": 0}, {"split": (0.9, 0.1, 0.0)}, {"nve_ps": -1.0}, {"hot_K": 0.0}])
def test_settings_out_of_range_are_refused(change: dict) -> None:
    with pytest.raises(SettingsError, match=next(iter(change))):
        MDProtocol(**change)


def test_the_budget_sets_the_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("ru_calc.studies.compare.fits.epoch_cpu_s", lambda job: 20.0)
    monkeypatch.setattr("ru_calc.studies.compare.fits.finish_fit", lambda job, *_: asked.append(job.settings.epochs))
    fit_family("ani", quick_part(read_dataset("distilled"), 0), tmp_path, MDProtocol(budget_min=10.0), say=quiet)
    assert asked == [30]


def test_the_pace_of_an_epoch_is_that_of_the_fit(tmp_path: Path) -> None:
    """Within a factor of three: a clock is no exact thing, an epoch in minutes or per batch would be far off."""
    dataset = quick_part(read_dataset("distilled"), 0)
    settings = with_changes("md", {"family": "calhousnet", "split": (0.6, 0.2, 0.2), "epochs": 1})
    expected = epoch_cpu_s(FitInput(dataset, tmp_path / "x", settings), batches=100)
    run_fit(FitInput(dataset, tmp_path / "run", settings), say=quiet)
    last = (tmp_path / "run" / "log.csv").read_text().splitlines()
    found = float(last[-1].split(",")[last[0].split(",").index("cpu_seconds")])
    assert found / 3 < expected < 3 * found
    assert not (tmp_path / "x").exists()


def test_a_run_that_falls_apart_is_told_from_one_that_survives(compared: tuple[Path, dict]) -> None:
    folder, results = compared
    model = folder / "fits" / "schnet" / "best.safetensors"
    assert results["families"]["schnet"]["survival"]["survived"]
    wild = MDProtocol(**{**QUICK.record(), "hot_K": 2e6})
    assert not measure.survival(model, wild)["survived"]


def test_the_verdict_follows_the_numbers(compared: tuple[Path, dict]) -> None:
    _, results = compared
    turned = json.loads(json.dumps(results))
    for k, family in enumerate(turned["families"]):
        report.test_row(turned["families"][family])["forces_RMSE_meV_per_A"] = 100.0 - k
    worst_is_first = report.verdict(turned)
    last = list(turned["families"])[-1]
    assert f"Smallest force error on the test frames: `{last}` ({100 - len(COMPARED) + 1} meV/Å)" in worst_is_first
    turned["families"][last]["survival"] = {"survived": False, "why": "hot"}
    assert f"Not for hot runs: `{last}`" in report.verdict(turned)
    assert "did not survive" in report.markdown(turned)


def test_measurements_go_to_the_families_own_file(compared: tuple[Path, dict]) -> None:
    folder, results = compared
    for family in SOME:
        assert json.loads((folder / f"{family}.json").read_text()).keys() == results["families"][family].keys()
    dataset = quick_part(read_dataset("distilled"), 0)
    found = measure_family("schnet", folder / "none", dataset, {}, folder, QUICK, say=quiet)  # reads no model
    assert found.keys() == results["families"]["schnet"].keys()


def test_labels_of_another_level_are_not_held_against_those_that_are_shipped(compared: tuple[Path, dict]) -> None:
    _, results = compared
    assert "| the labels | 2.73 |" in report.markdown(results)
    other = report.markdown({**results, "level_of_theory": "PBE, my code"})
    assert "| the labels |" not in other and "| PBE (literature) | 2.72 |" in other
    own = report.markdown({**results, "level_of_theory": "GPAW PW 400 eV PBE Ru.PBE 16e"})
    assert "| the labels |" not in own and "| our own DFT | 2.72 |" in own


def test_a_family_that_errs_about_as_much_is_not_called_worse(compared: tuple[Path, dict]) -> None:
    _, results = compared
    turned = json.loads(json.dumps(results))
    for family, found in turned["families"].items():
        row = report.test_row(found)
        row["forces_RMSE_meV_per_A"] = row["energy_MAE_meV_per_atom"] = 100.0 if family == "ani" else 98.0
    assert "less accurate" not in report.verdict(turned)
    report.test_row(turned["families"]["ani"])["forces_RMSE_meV_per_A"] = 120.0
    assert "less accurate" not in report.verdict(turned), "its energies are as good"
    report.test_row(turned["families"]["ani"])["energy_MAE_meV_per_atom"] = 120.0
    assert "`ani` is slower and, in forces and in energies, less accurate than `schnet`" in report.verdict(turned)
