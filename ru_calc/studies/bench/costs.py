"""What models cost: parameters, file size and CPU time of force calls, several models side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ru_calc.modelfiles.open import obstacle
from ru_calc.modelfiles.read import read_model_file
from ru_calc.studies.bench.contestants import Contestant, PredictorCalls
from ru_calc.studies.bench.race import Race
from ru_calc.studies.bench.run import system
from ru_calc.tables.uncertainty import network_weights

BUDGET_S = 30.0


def size(model: Path) -> dict[str, float]:
    """Number of parameters, and size of the file."""
    return {
        "parameters": sum(array.size for array in network_weights(read_model_file(model).weights).values()),
        "file_MB": model.stat().st_size / 1e6,
    }


def force_calls(
    models: Mapping[str, Path],
    atoms: Iterable[int],
    engines: Sequence[str] = ("compiled", "reference"),
    repeats: int = 5,
) -> list[dict[str, Any]]:
    """CPU time of force calls in float32, all models taking turns in one run, one thread.

    Args:
        models: name → file.
        atoms: about how many, of each hcp crystal.
        engines: a model that the compiled engine cannot run has no row of it.
        repeats: rounds; the median counts.

    Returns:
        Rows `model`, `engine`, `atoms`, `cpu_us` (median per atom and call) and `spread_us` (lowest, highest).
    """
    contestants: list[Contestant] = []
    owners: dict[str, tuple[str, str]] = {}
    for name, path in models.items():
        served = obstacle(read_model_file(path), "cpu") is None
        for engine in engines:
            if engine == "reference" or served:
                contestant = PredictorCalls(str(path), engine, 1)
                contestant.name = f"{name} {engine}"
                owners[contestant.name] = (name, engine)
                contestants.append(contestant)
    race = Race(contestants, threads=1, repeats=repeats, budget_s=BUDGET_S)
    rows = []
    for n_atoms in atoms:
        for row in race.run(system(n_atoms)):
            name, engine = owners[row["contestant"]]
            cost = {"cpu_us": row["cpu_us"], "spread_us": [row["cpu_us_min"], row["cpu_us_max"]]}
            rows.append({"model": name, "engine": engine, "atoms": row["atoms"], **cost})
    return rows
