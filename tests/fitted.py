"""What a fit has written, to compare two fits with each other."""

from __future__ import annotations

import csv
from pathlib import Path

from ru_calc.fit.trainer import TIMES


def fit_result(folder: Path) -> dict[str, object]:
    """Models, errors and log of a fit, without its times."""
    found: dict[str, object] = {name: (folder / f"{name}.safetensors").read_bytes() for name in ("best", "last")}
    with open(folder / "log.csv", newline="", encoding="utf-8") as log:
        found["log"] = [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(log)]
    return found | {name: (folder / f"{name}.json").read_text() for name in ("metrics", "split")}
