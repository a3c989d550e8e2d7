"""`ru-calc learn`: a round from the command line, more rounds later, and one clear line for bad inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from labelled import LJ, lj_frames

from ru_calc.cli import main
from ru_calc.dataset import Dataset, write_dataset

CALCULATOR = ["--calculator", "ase.calculators.lj:LennardJones", "--level", "LJ"]
CALCULATOR += [word for name, value in LJ.items() for word in ("--set", f"{name}={json.dumps(value)}")]
SMALL = ["--frames", 2, "--kind", "fcc_rattle4=3", "--threshold", 0, "--fit", "folds=2", "--fit", "epochs=1",
         "--fit", "split=0.8,0.2,0"]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(Dataset.from_atoms(lj_frames(24), level_of_theory="LJ"), tmp_path / "lj.h5")
    return tmp_path / "lj.h5"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["learn", *map(str, arguments)])


def test_rounds_are_played_and_more_are_added_later(tmp_path: Path, data: Path, model_file: Path) -> None:
    out = tmp_path / "loop"
    first = run(data, "-o", out, "--init-from", model_file, "--rounds", 1, *CALCULATOR, *SMALL)
    assert first.exit_code == 0, first.output
    assert "round 1: 3 candidates, 3 with an atom above 0.000 eV/Å; 2 to label" in first.output
    assert (out / "learn.md").read_text().startswith("# 1 round of learning")
    again = run(data, "-o", out, "--resume", "--rounds", 2, "--workers", 2)
    assert again.exit_code == 0, again.output
    assert [row["frames"] for row in json.loads((out / "results.json").read_text())] == [24, 26, 28]
    refused = run(data, "-o", out, "--resume", "--frames", 5)
    assert refused.exit_code == 1 and "cannot resume with changed settings: frames: 2 → 5" in refused.output
    refused = run(data, "-o", out, "--resume", "--set", "epsilon=2.0")
    assert refused.exit_code == 1 and "cannot resume with changed settings: label" in refused.output


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        ([], "give --calculator MODULE:CLASS or --preset gpaw", 2),
        (["--calculator", "nowhere:At", "--level", "LJ"], "nowhere", 1),
        (["--preset", "gpaw"], "the data to start from are at 'LJ'", 1),
        ([*CALCULATOR, "--kind", "hcp_rattel8"], "no kind 'hcp_rattel8'; did you mean hcp_rattle8", 1),
        ([*CALCULATOR, "--fit", "epoch=3"], "there is no setting 'epoch'; did you mean epochs?", 1),
        ([*CALCULATOR, "--init-from", "ani"], "ani is of family ani, which has no uncertainty", 1),
    ],
)
def test_bad_input_ends_in_one_line_and_leaves_no_folder(
    tmp_path: Path, data: Path, arguments: list[str], words: str, status: int
) -> None:
    result = run(data, "-o", tmp_path / "loop", *arguments)
    assert result.exit_code == status and words in result.output, result.output
    assert not (tmp_path / "loop").exists()
