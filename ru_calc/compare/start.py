"""Which folder belongs to which comparison: `protocol.json` in it says with what it was begun."""

from __future__ import annotations

import json
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
    if resume and not path.is_file():
        raise SettingsError(f"{folder} holds no comparison to resume; leave out --resume")
    check_folder(folder)
    if not resume:
        return
    try:
        before = json.loads(path.read_text())
        old, new = before["settings"], json.loads(json.dumps(settings.record()))
        names = sorted({*old, *new})
        changed = [f"{name}: {old.get(name)} → {new.get(name)}" for name in names if old.get(name) != new.get(name)]
        if data not in (None, before["data"]):
            changed.append(f"data: {before['data'][:12]} → {str(data)[:12]}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise SettingsError(f"{path} is damaged ({problem!r}); start anew in another folder") from problem
    if changed:
        raise SettingsError(f"cannot resume with changed settings: {'; '.join(changed)}")


def begin(folder: Path, settings: Settings, data: str) -> None:
    """Makes the folder, and writes there with what the comparison is begun."""
    make_folder(folder)
    write_json(folder / PROTOCOL, {"settings": settings.record(), "data": data})
