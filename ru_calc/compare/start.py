"""Which folder belongs to which comparison: `protocol.json` in it says with what it was begun."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from ru_calc.errors import SettingsError
from ru_calc.files import check_folder, make_folder, write_json

PROTOCOL = "protocol.json"


class Settings(Protocol):
    """Settings of either protocol."""

    def record(self) -> dict[str, Any]:
        """Plain values, by which a folder knows whether it may go on."""
        ...


def check_start(folder: Path, settings: Settings, resume: bool = False, data: str | None = None) -> None:
    """Refuses a comparison that cannot start, or cannot go on, in `folder`; changes nothing.

    Args:
        data: fingerprint of the data, where they have been read.

    Raises:
        SettingsError: the folder holds another comparison, or none to resume, or one of other settings or data.
        OutputError: the folder cannot be made or written.
    """
    path = folder / PROTOCOL
    if not resume and path.is_file():
        raise SettingsError(f"{folder} already holds a comparison; use --resume, or another folder")
    check_folder(folder)
    if not resume:
        return
    old, new = stored_settings(folder), json.loads(json.dumps(settings.record()))
    names = sorted({*old, *new})
    changed = [f"{name}: {old.get(name)} → {new.get(name)}" for name in names if old.get(name) != new.get(name)]
    before = json.loads(path.read_text()).get("data")
    if data not in (None, before):
        changed.append(f"data: {str(before)[:12]} → {str(data)[:12]}")
    if changed:
        raise SettingsError(f"cannot resume with changed settings: {'; '.join(changed)}")


def stored_settings(folder: Path) -> dict[str, Any]:
    """Settings of the comparison in a folder, by name.

    Raises:
        SettingsError: it holds none, or a damaged one.
    """
    path = folder / PROTOCOL
    if not path.is_file():
        raise SettingsError(f"{folder} holds no comparison to resume; leave out --resume")
    try:
        return dict(json.loads(path.read_text())["settings"])
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise SettingsError(f"{path} is damaged ({problem!r}); start anew in another folder") from problem


def begin(folder: Path, settings: Settings, data: str, families: Sequence[str]) -> None:
    """Makes the folder, and writes there with what the comparison is begun; families are added to those of before."""
    known = stored_families(folder)
    make_folder(folder)
    names = [*known, *(name for name in families if name not in known)]
    write_json(folder / PROTOCOL, {"settings": settings.record(), "data": data, "families": names})


def stored_families(folder: Path) -> tuple[str, ...]:
    """Families that were compared in a folder so far."""
    path = folder / PROTOCOL
    return tuple(json.loads(path.read_text()).get("families", ())) if path.is_file() else ()
