"""The level of theory that a labelled frame states."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

UNSTATED = "not stated"
# Frames labelled before there was `level_of_theory` have it in `settings`, with version and k-points.
EARLIER = re.compile(r"GPAW [\d.]+ (PW .*? eV PBE .*? Fermi-Dirac [\d.]+ eV)")


def stated_level(info: Mapping[str, Any]) -> str | None:
    """`level_of_theory` of a frame's `info`, or what its `settings` say; None if neither does."""
    if "level_of_theory" in info:
        return str(info["level_of_theory"])
    found = EARLIER.match(str(info.get("settings", "")).replace(",", ""))
    return f"GPAW {found[1]}" if found else None
