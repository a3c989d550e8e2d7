"""Which folder belongs to which comparison: `protocol.json` in it says with what it was begun."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ru_calc.errors import SettingsError
from ru_calc.files import check_folder, make_folder, read_stored, write_json

PROTOCOL = "protocol.json"
LICENCE = "that of the labels"


class Settings(Protocol):
    """Settings of either protocol."""

    def record(self) -> dict[str, Any]:
        """Plain values, by which a folder knows whether it may go on."""
        ...


@dataclass(frozen=True)
class Stored:
    """With what the comparison in a folder was begun.

    Attributes:
        settings: plain values, by name.
        data: fingerprint of the data.
        families: that were compared so far.
        licence: of the weights.
    """

    settings: dict[str, Any]
    data: str
    families: tuple[str, ...]
    licence: str


def stored(folder: Path) -> Stored | None:
    """The comparison in a folder, or None where there is none.

    Raises:
        SettingsError: it is damaged.
    """
    path = folder / PROTOCOL
    if not path.is_file():
        return None

    def make(found: dict[str, Any]) -> Stored:
        families, licence = tuple(found.get("families", ())), str(found.get("licence", LICENCE))
        return Stored(dict(found["settings"]), str(found["data"]), families, licence)

    return read_stored(path, make)


def check_start(folder: Path, settings: Settings, resume: bool = False, data: str | None = None) -> None:
    """Refuses a comparison that cannot start, or cannot go on, in `folder`; changes nothing.

    Args:
        data: fingerprint of the data, where they have been read.

    Raises:
        SettingsError: the folder holds another comparison, or none to resume, or one of other settings or data.
        OutputError: the folder cannot be made or written.
    """
    if not resume and (folder / PROTOCOL).is_file():
        raise SettingsError(f"{folder} already holds a comparison; use --resume, or another folder")
    check_folder(folder)
    if not resume:
        return
    before = stored(folder)
    if before is None:
        raise SettingsError(f"{folder} holds no comparison to resume; leave out --resume")
    old, new = before.settings, json.loads(json.dumps(settings.record()))
    names = sorted({*old, *new})
    changed = [f"{name}: {old.get(name)} → {new.get(name)}" for name in names if old.get(name) != new.get(name)]
    if data not in (None, before.data):
        changed.append(f"data: {before.data[:12]} → {str(data)[:12]}")
    if changed:
        raise SettingsError(f"cannot resume with changed settings: {'; '.join(changed)}")


def begin(folder: Path, settings: Settings, data: str, families: Sequence[str], licence: str | None = None) -> Stored:
    """Makes the folder, and writes there with what the comparison is begun.

    Args:
        families: are added to those of before.
        licence: None keeps the one of before.

    Returns:
        What stands there now.
    """
    before = stored(folder)
    known = before.families if before else ()
    names = (*known, *(name for name in families if name not in known))
    now = Stored(settings.record(), data, names, licence or (before.licence if before else LICENCE))
    make_folder(folder)
    write_json(folder / PROTOCOL, asdict(now))
    return now
