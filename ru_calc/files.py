"""Writing files: a file appears under its name only when it is complete."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ru_calc.errors import OutputError

if TYPE_CHECKING:
    import numpy as np


def shipped(pattern: str) -> list[Path]:
    """Shipped files of `models/`, by glob pattern."""
    # An editable installation maps the package, but not the folder `models` beside it.
    here = Path(__file__).parent
    folder = next((f for f in (here / "models", here.parent / "models") if f.is_dir()), here / "models")
    return sorted(folder.glob(pattern))


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path that is renamed to `path` at the end, or removed if something fails.

    Raises:
        OutputError: the folder does not exist or cannot be written.
    """
    path = Path(path)
    check_writable(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as problem:
        raise OutputError(f"{path} could not be written: {problem}") from problem
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any, indent: int | None = 1) -> Path:
    """Writes plain values as JSON, whole or not at all; NaN and infinities, which JSON lacks, become null."""
    return write_text(path, json.dumps(_finite(value), indent=indent, ensure_ascii=False))


def write_text(path: str | Path, text: str) -> Path:
    """Writes a text, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def content_sha256(values: Any, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of plain values, whatever the order of their keys, and of names, dtypes, shapes and bytes of arrays."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_writable(path: str | Path) -> None:
    """Refuses a file that could not be written, before it is computed.

    Raises:
        OutputError: the folder is missing or not writable, or the path is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file")
    if not path.parent.is_dir():
        raise OutputError(f"the folder of {path} does not exist: make {path.parent} first")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as problem:
        raise OutputError(f"{path} cannot be written: {problem.strerror}; choose another folder") from problem


def check_folder(path: str | Path) -> None:
    """Refuses a folder that could not be created or written, without changing anything.

    Raises:
        OutputError: it could not, or a file has that name.
    """
    whole = Path(path).absolute()
    try:
        existing = next(part for part in (whole, *whole.parents) if part.exists())
        if not existing.is_dir():
            raise OutputError(f"the folder {path} cannot be made, as {existing} is a file: give another output folder")
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as problem:
        raise OutputError(
            f"the folder {path} cannot be made or written: {problem.strerror}; give another output folder"
        ) from problem


def make_folder(path: str | Path) -> Path:
    """The folder `path`, created if it is missing.

    Raises:
        OutputError: it cannot be created, or a file has that name.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise OutputError(f"the folder {path} cannot be made: {problem.strerror}") from problem
    return path
