"""Records of runs: what a fit, sweep or comparison was started with, in one JSON file of its folder.

A run is resumed only with the settings and the data of its record.  `checksum` in the file is the SHA-256 of the rest;
records of earlier versions have none, and are read without this check.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ru_calc.errors import SettingsError
from ru_calc.files import check_folder, make_folder, write_text

Made = TypeVar("Made")
Log = Callable[[str], None]  # takes the lines that a run prints
CHECKSUM = "checksum"


@dataclass(frozen=True)
class RunKind:
    """One kind of run.

    Attributes:
        name: of the kind, for messages.
        file: name of the record in the folder of a run.
    """

    name: str
    file: str

    def begun(self, folder: Path) -> bool:
        """Whether the folder holds a run of this kind."""
        return (folder / self.file).is_file()

    def claim(self, folder: Path) -> None:
        """Refuses a folder that is taken, or that cannot be made or written; changes nothing.

        Raises:
            SettingsError: the folder already holds a run.
            OutputError: it cannot be made or written, or another run works in it.
        """
        if self.begun(folder):
            raise SettingsError(f"{folder} already holds a {self.name}; use --resume, or another folder")
        check_folder(folder)

    def begin(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Makes the folder and writes the record, in place of an earlier one."""
        make_folder(folder)
        text = json.dumps({**record, CHECKSUM: _checksum(record)}, indent=1, ensure_ascii=False)
        write_text(folder / self.file, text)

    def resume(self, folder: Path, make: Callable[[dict[str, Any]], Made]) -> Made:
        """The record of the run to resume, as `make` takes it.

        Raises:
            SettingsError: the folder holds no such run, or its record is damaged.
            OutputError: the folder cannot be written, or another run works in it.
        """
        if not self.begun(folder):
            raise SettingsError(f"{folder} holds no {self.name} to resume; leave out --resume")
        check_folder(folder)
        return self.read(folder, make)

    def read(self, folder: Path, make: Callable[[dict[str, Any]], Made]) -> Made:
        """The record in a folder, as `make` takes it.

        Raises:
            SettingsError: it cannot be read, `make` cannot take it, or it is not what was written.
        """
        path = folder / self.file
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            written = record.pop(CHECKSUM, None)
            if written not in (None, _checksum(record)):
                raise ValueError("its checksum does not match: it was changed after it was written")
            return make(record)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise SettingsError(f"{path} is damaged ({problem!r}); start anew in another folder") from problem


def refuse(changed: Sequence[str], way_out: str = "start anew in another folder") -> None:
    """Refuses to resume a run of which something has changed.

    Args:
        changed: as `changes` gives it; nothing if empty.

    Raises:
        SettingsError: naming each change.
    """
    if changed:
        raise SettingsError(
            f"cannot resume with changed settings: {'; '.join(changed)}; leave them as they were, or {way_out}"
        )


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The values that differ, as `name: old → new`; lists and tuples are alike."""
    before, after = plain(old), plain(new)
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return [f"{name}: {before.get(name)} → {after.get(name)}" for name in names]


def data_changes(old: str, new: str | None) -> list[str]:
    """Whether the fingerprints of two data sets differ, in the form of `changes`; None is not compared."""
    return [] if new in (None, old) else [f"data: {old[:12]} → {str(new)[:12]}"]


def plain(value: Any) -> Any:
    """A value as it comes back from a JSON file."""
    return json.loads(json.dumps(value))


def _checksum(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
