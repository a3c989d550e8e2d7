"""The record of a comparison, by either protocol: `protocol.json` in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ru_calc.files import WAIT_S, owned_file
from ru_calc.fit.runs import RunKind, changes, data_changes, refuse

COMPARISON = RunKind("comparison", "protocol.json")
LICENCE = "that of the labels"


class Settings(Protocol):
    """Settings of either protocol."""

    def record(self) -> dict[str, Any]:
        """What must not change when the comparison is resumed."""
        ...


@dataclass(frozen=True)
class Stored:
    """The record of a comparison.

    Attributes:
        settings: plain values, by name.
        data: fingerprint of the data.
        families: compared so far.
        licence: of the weights.
    """

    settings: dict[str, Any]
    data: str
    families: tuple[str, ...] = ()
    licence: str = LICENCE


def stored(folder: Path) -> Stored:
    """The comparison in a folder.

    Raises:
        SettingsError: there is none, or its record is damaged.
        OutputError: the folder cannot be written.
    """
    return COMPARISON.resume(folder, _stored)


def _stored(record: dict[str, Any]) -> Stored:
    families, licence = tuple(record.get("families", ())), str(record.get("licence", LICENCE))
    return Stored(dict(record["settings"]), str(record["data"]), families, licence)


def check_start(folder: Path, settings: Settings, resume: bool = False, data: str | None = None) -> None:
    """Refuses a comparison that cannot start, or cannot be resumed, in `folder`; changes nothing.

    Args:
        data: fingerprint of the data, if they have been read.

    Raises:
        SettingsError: the folder holds another comparison, or none to resume, or one with other settings or data.
        OutputError: the folder cannot be made or written.
    """
    if not resume:
        COMPARISON.claim(folder)
        return
    before = stored(folder)
    refuse(changes(before.settings, settings.record()) + data_changes(before.data, data))


def begin(folder: Path, settings: Settings, data: str, families: Sequence[str], licence: str | None = None) -> Stored:
    """Makes the folder with the record, or adds families to the record that is there.

    Args:
        licence: None keeps that of the record.
    """
    with owned_file(folder / COMPARISON.file, WAIT_S):  # another process may add some
        before = stored(folder) if COMPARISON.begun(folder) else Stored({}, "")
        names = tuple(dict.fromkeys((*before.families, *families)))
        now = Stored(settings.record(), data, names, licence or before.licence)
        COMPARISON.begin(folder, asdict(now))
        return now
