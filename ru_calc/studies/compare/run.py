"""The `md` protocol from data to tables; finished steps are kept, so that a killed comparison can be resumed.

The folder holds `protocol.json`, for each family a run folder `fits/FAMILY/` and measurements `FAMILY.json`, and at the
end `table.md`, `results.json` and `figure.png`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ru_calc.dataset import Dataset, split_by_group
from ru_calc.files import owned, read_json, write_json
from ru_calc.fit.report import fit_cost
from ru_calc.fit.runs import Log
from ru_calc.studies.bench.costs import size
from ru_calc.studies.compare import measure
from ru_calc.studies.compare.fits import fit_family, plan_fit
from ru_calc.studies.compare.report import write_report
from ru_calc.studies.compare.settings import COMPARED, QUICK_FRAME_ATOMS, QUICK_FRAMES, MDProtocol, check_families
from ru_calc.studies.compare.start import begin, check_start, stored


def quick_part(dataset: Dataset, seed: int) -> Dataset:
    """A random few of the small frames, the same for the same seed."""
    small = np.flatnonzero(dataset.structures.counts <= QUICK_FRAME_ATOMS)
    chosen = np.random.default_rng(seed).permutation(small)[:QUICK_FRAMES]
    return dataset.select(np.sort(chosen))


def compare_families(
    dataset: Dataset,
    folder: Path,
    protocol: MDProtocol | None = None,
    families: Sequence[str] | None = None,
    resume: bool = False,
    licence: str | None = None,
    say: Log = print,
    bar: Any = None,
) -> dict[str, Any]:
    """Fits and measures every family, and writes the tables.

    Several processes may share a folder, each with its own families, if all but the first resume; a last one with all
    families then makes the tables.

    Args:
        dataset: labelled frames.
        folder: of the comparison.
        families: in the order of the tables; None takes all, or those of the comparison to resume.
        resume: resume the comparison in `folder`.
        licence: of the weights, for the model files; None is that of the labels, or of the comparison to resume.
        say, bar: see `ru_calc.fit.run.run_fit`.

    Returns:
        The contents of `results.json`.

    Raises:
        SettingsError, OutputError, DataError: wrong settings, folder or data, or another run works there.
    """
    protocol = protocol or MDProtocol()
    with ExitStack() as owner:
        owner.enter_context(owned(folder, shared=bool(families)))
        known = stored(folder).families if resume else ()
        families = check_families(tuple(families or known or COMPARED))
        dataset = quick_part(dataset, protocol.seed) if protocol.quick else dataset
        check_start(folder, protocol, resume, dataset.fingerprint())
        for family in families:
            owner.enter_context(owned(folder / "fits" / family))
        licence = begin(folder, protocol, dataset.fingerprint(), families, licence).licence
        split = split_by_group(dataset, protocol.split, protocol.seed)
        for family in families:  # all before the first fit: a busy machine then slows all alike
            plan_fit(family, dataset, folder, protocol)
        models = {family: fit_family(family, dataset, folder, protocol, licence, say, bar) for family in families}
        found = {
            family: measure_family(family, model, dataset, split, folder, protocol, say)
            for family, model in models.items()
        }
        say("speed of all models, in turns")
        results = {
            "settings": protocol.record(), "data": dataset.fingerprint(), "level_of_theory": dataset.level_of_theory,
            "families": found, "speeds": measure.speeds(models, protocol),
        }  # fmt: skip
        write_report(results, folder)
        return results


def measure_family(
    family: str,
    model: Path,
    dataset: Dataset,
    split: dict[str, np.ndarray],
    folder: Path,
    protocol: MDProtocol,
    say: Log = print,
) -> dict[str, Any]:
    """All measurements of one fitted model; those in its file are not repeated."""
    path = folder / f"{family}.json"
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    steps = {
        "fit": lambda: fit_cost(folder / "fits" / family),
        "size": lambda: size(model),
        "errors": lambda: measure.errors(model, dataset, split),
        "conservation": lambda: measure.conservation(model, protocol),
        "survival": lambda: measure.survival(model, protocol),
        "properties": lambda: measure.properties(model, protocol),
    }
    for name, step in steps.items():
        if name not in found:
            say(f"{family}: {name}")
            found[name] = step()
            write_json(path, found)
    return dict(read_json(path))  # the same, whether measured now or earlier
