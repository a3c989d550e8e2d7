"""The whole tree passes ruff and mypy, as `pyproject.toml` sets them."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PINS = dict(line.split("==") for line in (ROOT / ".ci/constraints.txt").read_text().splitlines() if "==" in line)
TYPED = ("matplotlib", "numpy", "safetensors")


@pytest.mark.parametrize("check", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join)
def test_it_is_clean(check: list[str]) -> None:
    pytest.importorskip(check[0])
    if check == ["mypy"] and any(version(name) != PINS[name] for name in TYPED):
        pytest.skip("mypy judges by the types of other packages, so it needs the versions of .ci/constraints.txt")
    done = subprocess.run([sys.executable, "-m", *check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
