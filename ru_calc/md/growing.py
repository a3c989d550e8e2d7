"""Files that grow during a run, survive a kill, and can be cut back to a checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any

from ru_calc.errors import OutputError


class GrowingFile:
    """A text or binary file that is appended to, after it was cut back to the mark `resume_at` if that is given.

    Raises:
        OutputError: the file is missing or shorter than `resume_at`.
    """

    def __init__(self, path: Path, resume_at: int | None = None, binary: bool = False) -> None:
        if resume_at is not None:
            size = path.stat().st_size if path.is_file() else -1
            if size < resume_at:
                found = "is missing" if size < 0 else f"has {size} bytes, but {resume_at} were written"
                raise OutputError(
                    f"{path} {found}: the run cannot continue in place; start a new one from its last frame"
                )
            os.truncate(path, resume_at)
        text: dict[str, Any] = {} if binary else {"encoding": "utf-8", "newline": ""}
        self.file: IO[Any] = open(path, "ab" if binary else "a", **text)

    def mark(self) -> int:
        """Size in bytes, to which a restart from here cuts the file."""
        self.file.flush()
        return os.fstat(self.file.fileno()).st_size

    def close(self) -> None:
        """Closes the file."""
        self.file.close()
