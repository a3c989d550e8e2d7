"""The C++ sources are formatted as `.clang-format` says, by the version that the extra `test` names."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from flipped_signs import SOURCES

PACKAGE = SOURCES.parents[1]
CLANG_FORMAT = shutil.which("clang-format", path=Path(sys.executable).parent)  # not the system's: versions differ


@pytest.mark.skipif(CLANG_FORMAT is None, reason="clang-format is not installed")
def test_the_sources_are_formatted() -> None:
    files = [path for kind in ("*.cpp", "*.hpp") for path in PACKAGE.rglob(kind)]
    command = [str(CLANG_FORMAT), "--dry-run", "-Werror", f"--style=file:{SOURCES / '.clang-format'}", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert files and done.returncode == 0, done.stderr
