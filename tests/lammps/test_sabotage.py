"""The comparison with the engine bites: a plugin that loses a ghost or pairs is found out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ru_calc.checks.structures import crystal
from ru_calc.checks.tolerance import deviations
from ru_calc.lammps import launch
from ru_calc.lammps.build import FLAGS, PLUGIN, SOURCES, compile_plugin
from ru_calc.lammps.installed import find_lammps
from ru_calc.lammps.single_point import evaluate
from ru_calc.lammps.tables_file import write_tables
from ru_calc.modelfiles import open_model
from ru_calc.predictor import WANTED

pytestmark = pytest.mark.usefixtures("lammps_plugin")
# What is broken: file, code, code instead.
WRONG = {
    "the last ghost of each message keeps what it had": (
        "pair_ruschnet.cpp", "n * row_bytes_);", "(n - 1) * row_bytes_);"
    ),
    "the first atom loses some of its pairs": (
        "domain.hpp", "for (int k = 0; k < lists", "for (int k = row ? 0 : 20; k < lists"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_it_is_noticed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled without optimisation."""
    shutil.copytree(SOURCES, tmp_path / "src")
    file, code, instead = WRONG[name]
    text = (tmp_path / "src" / file).read_text()
    assert text.count(code) == 1
    (tmp_path / "src" / file).write_text(text.replace(code, instead))
    compile_plugin(tmp_path / PLUGIN, find_lammps().headers, (*FLAGS, "-O0"), tmp_path / "src")
    write_tables(tmp_path / "ru.tables", "fast", "float64")
    atoms = crystal(8)
    expected = open_model("fast", "float64").predictor.predict([atoms], None, WANTED)

    def agrees() -> bool:
        found = evaluate(atoms, tmp_path / "ru.tables", 2)
        assert np.isfinite(found.forces).all()
        return all(figure.passed for figure in deviations(found, expected, "float64"))

    assert agrees()
    monkeypatch.setattr(launch, "built_plugin", lambda: tmp_path / PLUGIN)
    assert not agrees()
