"""The campaign of damaged HDF5 files, reduced, and that it sees a silent change."""

import numpy as np
import pytest
from campaign import run_cases
from hdf5_files import DAMAGES, KINDS, LIMITS, content, dataset, expected_journal, make, work

from ru_calc.dataset import Dataset


def test_damaged_files_are_refused_or_read_as_written():
    results = list(run_cases(make, range(80), LIMITS))
    assert not [str(result) for result in results if result.failed]
    assert {result.kind for result in results} == {f"{kind}, {damage}" for kind in KINDS for damage in DAMAGES}
    assert {result.end for result in results} >= {"refused", "as written"}


def test_whole_files_are_read_as_written_and_other_values_are_seen(monkeypatch):
    assert [work(content(kind), kind, expected_journal()) for kind in KINDS] == ["as written"] * 4
    forces = dataset().forces.copy()
    forces[3, 1] = np.nextafter(forces[3, 1], np.inf)
    changed = Dataset(**{**dataset().__dict__, "forces": forces})
    monkeypatch.setattr("hdf5_files.dataset", lambda: changed)
    with pytest.raises(AssertionError):
        work(content(KINDS[0]), KINDS[0], b"")
    assert work(content(KINDS[1]), KINDS[1], b"") == "other values"
    with pytest.raises(AssertionError, match="other frames"):
        work(content(KINDS[2]), KINDS[2], b"")
