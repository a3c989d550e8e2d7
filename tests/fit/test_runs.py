"""Records of runs: taken, missing, changed and damaged ones are refused, and those of earlier versions are read."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from ru_calc.errors import OutputError, SettingsError
from ru_calc.fit.runs import RunKind, changes, data_changes, refuse

MELT = RunKind("melt", "melt.json")
RECORD = {"settings": {"seed": 3, "delta": math.inf, "name": "Å"}, "data": "abc"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    MELT.begin(tmp_path / "run", RECORD)
    return tmp_path / "run"


def test_a_record_is_read_as_it_was_written(folder: Path) -> None:
    assert MELT.begun(folder) and MELT.resume(folder, dict) == RECORD


def test_taken_and_empty_folders_are_refused_and_left_alone(folder: Path, tmp_path: Path) -> None:
    MELT.claim(tmp_path / "new")
    with pytest.raises(SettingsError, match="run already holds a melt; use --resume, or another folder"):
        MELT.claim(folder)
    with pytest.raises(SettingsError, match="new holds no melt to resume; leave out --resume"):
        MELT.resume(tmp_path / "new", dict)
    assert not (tmp_path / "new").exists()
    with pytest.raises(OutputError, match="cannot be made"):
        MELT.claim(folder / MELT.file)


def test_a_record_without_a_checksum_is_read(folder: Path) -> None:
    (folder / MELT.file).write_text(json.dumps({"data": "abc"}))
    assert MELT.resume(folder, dict) == {"data": "abc"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"seed": 3', '"seed": 4', "its checksum does not match: it was changed after it was written"),
        ('"checksum": "', '"checksum": "0', "its checksum does not match"),
        ("}", "", "JSONDecodeError"),
    ],
)
def test_a_record_that_is_not_what_was_written_is_refused(folder: Path, old: str, new: str, words: str) -> None:
    path = folder / MELT.file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(SettingsError, match=f"melt.json is damaged .*{words}.*start anew in another"):
        MELT.resume(folder, dict)


def test_a_record_that_lacks_something_is_refused(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"melt.json is damaged \(KeyError\('pressure'\)\)"):
        MELT.resume(folder, lambda record: record["pressure"])


def test_changes_are_named_and_refused() -> None:
    found = changes({"a": 1, "b": [1, 2], "c": None}, {"a": 2, "b": (1, 2), "d": "x"})
    assert found == ["a: 1 → 2", "d: None → x"]
    assert data_changes("a" * 40, None) == data_changes("a", "a") == []
    found += data_changes("a" * 40, "b" * 40)
    with pytest.raises(SettingsError, match=f"changed settings: a: 1 → 2; d: None → x; data: {'a' * 12} → {'b' * 12};"):
        refuse(found)
    refuse([])
