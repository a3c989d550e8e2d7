"""Writing files: one owner of a folder or file at a time, and a file appears under its name only when it is complete.

A process owns a folder by a lock (flock) on the folder itself.  It leaves no file, and the system takes it back when
the process ends, also by a kill.  A file is owned, and written, in a folder `.NAME.tmp` beside it; what a killed
process left there is removed by the next one.  Where a file system has no such locks (NFS, Windows), nothing is
refused.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

from ru_calc.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
if TYPE_CHECKING:
    import numpy as np

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WAIT_S = 10.0  # for another process that writes the same file
UNFINISHED = ".*.tmp"
_held: dict[tuple[int, Path], int] = {}  # descriptors of folders that this process owns, by thread


def shipped(pattern: str) -> list[Path]:
    """Shipped files of `models/`, by glob pattern."""
    # An editable installation maps the package, but not the folder `models` beside it.
    here = Path(__file__).parent
    folder = next((f for f in (here / "models", here.parent / "models") if f.is_dir()), here / "models")
    return sorted(folder.glob(pattern))


def cache_folder() -> Path:
    """The user's folder for what can be made again: `$RU_CALC_CACHE`, `$XDG_CACHE_HOME/ru-calc` or `~/.cache/ru-calc`.

    Raises:
        RuntimeError: no variable names one, and there is no home folder.
    """
    own = os.environ.get("RU_CALC_CACHE")
    if own:
        return Path(own).expanduser()
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification asks to ignore a relative path.
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "ru-calc"


def lock(handle: int, shared: bool = False) -> bool:
    """Locks an open file or folder; False if another process has it, True also where there are no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # this file system has none
        pass
    return True


@contextmanager
def owned(folder: str | Path, shared: bool = False) -> Iterator[Path]:
    """Makes a folder if it is missing, and keeps other runs out of it; one that is still empty at the end is removed.

    Args:
        shared: others that share may come in, but no owner.

    Raises:
        OutputError: another run works in it, or it cannot be made.
    """
    folder = Path(folder)
    check_folder(folder)
    with _locked(folder, 0.0, shared) as free:
        if not free:
            raise _in_use(folder)
        clear_unfinished(folder)
        yield folder


@contextmanager
def owned_file(path: str | Path, wait_s: float = 0.0) -> Iterator[None]:
    """Keeps other processes from writing a file.

    Raises:
        OutputError: another process writes it, also after this time, or its folder cannot be written.
    """
    with _being_written(Path(path), wait_s):
        yield


@contextmanager
def free_folder(stem: str) -> Iterator[Path]:
    """Owns the first of the folders `stem`, `stem-2`, `stem-3`, … that is new or empty, and that no other run has."""
    with ExitStack() as stack:
        for k in itertools.count(1):
            folder = Path(stem if k == 1 else f"{stem}-{k}")
            if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
                continue
            # Another run may come between, and even end.
            if stack.enter_context(_locked(folder)) and not any(folder.iterdir()):
                break
            stack.pop_all().close()
        yield folder


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path that is renamed to `path` at the end, or removed if something fails.

    Raises:
        OutputError: the folder does not exist or cannot be written, or another process writes the file.
    """
    path = Path(path)
    check_writable(path)
    with _being_written(path, WAIT_S) as folder:
        temporary = folder / path.name
        try:
            yield temporary
            os.replace(temporary, path)
        except Exception as problem:
            cause = of_system(problem)
            if cause is None:
                raise
            raise OutputError(f"{path} could not be written: {why(cause)}") from cause
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


def read_json(path: str | Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


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
    """Refuses a folder that could not be created or written, or in which another run works, without changing anything.

    Raises:
        OutputError: it could not, a file has that name, or another run works there.
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
    if existing == whole:
        with _locked(whole, shared=True) as free:
            if not free:
                raise _in_use(path)


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


def clear_unfinished(folder: Path) -> None:
    """Removes what killed processes left unfinished in a folder."""
    for left in folder.glob(UNFINISHED):
        if left.is_dir():
            with _locked(left) as free:
                if free:
                    _empty(left)
                    with suppress(OSError):
                        left.rmdir()


def of_system(problem: Exception) -> OSError | None:
    """The error of the operating system behind an exception, which safetensors gives as text."""
    if isinstance(problem, OSError):
        return problem
    number = re.search(r"\(os error (\d+)\)", str(problem))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def why(problem: OSError) -> str:
    """The reason of a failed write, and the way out if it is lack of room."""
    reason = problem.strerror or str(problem)
    return f"{reason}; make room on that disk" if problem.errno in FULL else reason


def _in_use(path: str | Path) -> OutputError:
    return OutputError(f"{path} is in use by another run; wait for it to end, or choose another name")


@contextmanager
def _being_written(path: Path, wait_s: float) -> Iterator[Path]:
    """The folder in which a file is written, empty unless this thread has it already."""
    folder = path.with_name(f".{path.name}.tmp")
    mine = _mine(folder)
    with _locked(folder, wait_s) as free:
        if not free:
            raise _in_use(path)
        if mine:
            yield folder
            return
        _empty(folder)
        try:
            yield folder
        finally:
            with suppress(OSError):
                folder.rmdir()


def _empty(folder: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def _mine(folder: Path) -> bool:
    return (get_ident(), folder.absolute()) in _held


@contextmanager
def _locked(folder: Path, wait_s: float = 0.0, shared: bool = False) -> Iterator[bool]:
    """Makes and locks a folder; gives whether it could.  What it made is removed at the end if it is empty."""
    if _mine(folder):
        yield True
        return
    made = [part for part in (folder, *folder.parents) if not part.exists()]
    handle = _taken(folder, time.monotonic() + wait_s, shared)
    if handle is None:
        yield False
        return
    key = (get_ident(), folder.absolute())
    _held[key] = handle
    try:
        yield True
    finally:
        del _held[key]
        with suppress(OSError):  # not empty
            for part in made:
                part.rmdir()
        os.close(handle)


def _taken(folder: Path, deadline_s: float, shared: bool) -> int | None:
    """A descriptor of the folder that holds its lock; None if another process keeps it until the deadline."""
    while True:
        make_folder(folder)
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # removed by the one before
            continue
        except OSError:  # Windows opens no folders
            return os.open(os.devnull, os.O_RDONLY)
        if lock(handle, shared):
            with suppress(OSError):
                if os.path.samestat(os.fstat(handle), os.stat(folder)):
                    return handle
        elif time.monotonic() > deadline_s:
            os.close(handle)
            return None
        else:
            time.sleep(0.01)
        os.close(handle)


def _let_go() -> None:
    """A forked process owns nothing of its parent's."""
    for handle in _held.values():
        os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
