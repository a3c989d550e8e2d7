"""A committee: several fits that differ in their seeds alone, and how well their spread tells their error.

The folder holds `settings.json` and `split.json` of all, `member_1`, `member_2`, … (run folders), `committee.json` and
`committee.md`.  Member k starts and shuffles by seed + k − 1; the split is that of the first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ru_calc.dataset import Dataset
from ru_calc.errors import SettingsError
from ru_calc.evaluate.metrics import QUANTITIES, SCALES, Comparison
from ru_calc.files import whole_file, write_json
from ru_calc.fit.report import open_fitted
from ru_calc.fit.run import FitInput, Say, begin_fit, finish_fit, finished, split_of
from ru_calc.fit.settings import FitSettings
from ru_calc.fit.start import FIT, LEAST_MEMBERS, check_start
from ru_calc.modelfiles.read import BEST
from ru_calc.predictor import predict_all
from ru_calc.reports.tables import Table, number

COLUMNS = {
    "energy_MAE_meV_per_atom": "E MAE (meV/atom)", "energy_RMSE_meV_per_atom": "E RMSE",
    "forces_MAE_meV_per_A": "F MAE (meV/Å)", "forces_RMSE_meV_per_A": "F RMSE", "stress_MAE_GPa": "σ MAE (GPa)",
}  # fmt: skip
SPREAD = {
    "spread_rms_meV_per_A": "spread, rms (meV/Å)", "error_rms_meV_per_A": "error, rms (meV/Å)",
    "ratio": "error / spread", "correlation": "correlation", "rank_correlation": "of ranks",
}  # fmt: skip


def run_committee(
    job: FitInput, members: int, resume: bool = False, say: Say = print, bar: Any = None
) -> dict[str, Any]:
    """Fits the members one after the other, or goes on with a committee that was cut short, and judges them.

    Args:
        job: of the first member, with the folder of the committee.
        members: how many, at least 2.
        resume: go on in `job.folder`; members that are whole are not fitted again.
        say, bar: see `run_fit`.

    Returns:
        `part` (`test`, or `validation` where there are no test frames), `members` (`folder`, `seed` and `errors` of
        each on every part, as in `metrics.json`), `mean` (errors of the mean prediction on `part`) and `spread` (see
        `spread_of_forces`), as in `committee.json`.

    Raises:
        SettingsError, OutputError: see `check_committee`.
        DataError: see `ru_calc.fit.run.split_of`.
    """
    check_committee(job.folder, members, job.settings, job.init_from, resume, job.dataset.fingerprint())
    split = split_of(job)
    if not resume:
        begin_fit(job, split, committee=members)
    found: list[dict[str, Any]] = []
    for k in range(1, members + 1):
        member = replace(job, folder=member_folder(job.folder, k), settings=settings_of(job.settings, k))
        errors = finish_fit(member, f"seed {member.settings.seed}", say, bar)
        found.append({"folder": member.folder.name, "seed": member.settings.seed, "errors": errors})
    part = "test" if len(split["test"]) else "validation"
    files = [job.folder / one["folder"] / BEST for one in found]
    result = {"part": part, "members": found, **judged(files, job.dataset.select(split[part]))}
    write_json(job.folder / "committee.json", result)
    text = report(result)
    with whole_file(job.folder / "committee.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    say(text.rstrip())
    return dict(json.loads((job.folder / "committee.json").read_text()))  # plain values, as they stand there


def check_committee(
    folder: Path,
    members: int,
    settings: FitSettings,
    init_from: str | None = None,
    resume: bool = False,
    data: str | None = None,
) -> None:
    """Refuses a committee that cannot start, or cannot go on, in `folder`; changes nothing.

    Raises:
        SettingsError: too few members; or the folder holds another fit or committee, or none to resume; or the one to
            resume has another size; else see `check_start`.
        OutputError: the folder cannot be made or written.
    """
    if members < LEAST_MEMBERS:
        raise SettingsError(f"the committee has {members} members; it must have at least {LEAST_MEMBERS}")
    check_start(folder, settings, init_from, resume, data, members)
    for k in range(1, members + 1):
        member = member_folder(folder, k)
        if FIT.begun(member) and not resume:
            raise SettingsError(f"{member} already holds a fit; use another folder")
        if FIT.begun(member):
            check_start(member, settings_of(settings, k), init_from, True, data)


def current_member(folder: Path, members: int) -> Path:
    """Run folder of the first member that is not whole, or of the last."""
    folders = [member_folder(folder, k) for k in range(1, members + 1)]
    return next((one for one in folders if not finished(one)), folders[-1])


def member_folder(folder: Path, k: int) -> Path:
    """Run folder of member `k`, counted from 1."""
    return folder / f"member_{k}"


def settings_of(settings: FitSettings, k: int) -> FitSettings:
    """Settings of member `k`, counted from 1: a seed of its own, and the split of all."""
    return replace(settings, seed=settings.seed + k - 1, split_seed=settings.seed_of_split)


def judged(files: Sequence[Path], dataset: Dataset) -> dict[str, Any]:
    """`mean`: errors of the mean prediction of models on a set; `spread`: see `spread_of_forces`."""
    found = [predict_all(open_fitted(file).predictor, dataset.structures, QUANTITIES) for file in files]
    mean = Comparison(dataset, *(np.mean([getattr(one, name) for one in found], axis=0) for name in QUANTITIES))
    spread = spread_of_forces(np.array([one.forces for one in found]), dataset.forces)
    return {"mean": mean.row(), "spread": spread}


def spread_of_forces(forces: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How the members' spread compares with the error of their mean, atom by atom.

    With m members, spread s_i² = Σ_k |F_ki − F̄_i|² / 3 (m − 1) and error e_i² = |F̄_i − F_i|² / 3: what one component
    has on average.

    Args:
        forces: (m, n, 3) of the members, eV/Å.
        labels: (n, 3) eV/Å, NaN where missing.

    Returns:
        `atoms` compared; `spread_rms_meV_per_A` and `error_rms_meV_per_A` over them; `ratio` of the error to the
        spread (above 1 the members agree better than they are right); `correlation` of s_i and e_i, and
        `rank_correlation` of their ranks.  NaN where there is nothing to compare.
    """
    mean = forces.mean(axis=0)
    spread = np.sqrt(((forces - mean) ** 2).sum(axis=(0, 2)) / (3 * (len(forces) - 1)))
    error = np.sqrt(((mean - labels) ** 2).sum(axis=1) / 3)
    known = np.isfinite(spread) & np.isfinite(error)
    spread, error = spread[known], error[known]
    rms = [float(np.sqrt(np.mean(x**2))) if len(x) else float("nan") for x in (spread, error)]
    factor = SCALES["forces"].factor
    return {
        "atoms": int(known.sum()),
        "spread_rms_meV_per_A": rms[0] * factor,
        "error_rms_meV_per_A": rms[1] * factor,
        "ratio": rms[1] / rms[0] if rms[0] > 0 else float("nan"),
        "correlation": _correlation(spread, error),
        "rank_correlation": _correlation(rankdata(spread), rankdata(error)),
    }


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def report(result: Mapping[str, Any]) -> str:
    """`committee.md`: errors of the members and of their mean, and what their spread is worth."""
    part, spread = result["part"], result["spread"]
    rows = [[one["folder"], str(one["seed"]), *_cells(one["errors"][part])] for one in result["members"]]
    rows.append(["mean of all", "", *_cells(result["mean"])])
    members = len(result["members"])
    return "\n".join(
        [
            f"# A committee of {members}",
            "",
            f"Errors on the {part} frames ({result['mean']['frames']}):",
            "",
            Table(["", "seed", *COLUMNS.values()], rows).markdown(),
            "",
            f"Spread of the forces (standard deviation of the {members} members) beside the error of their mean, per",
            f"component, over {spread['atoms']} atoms of these frames.  Error / spread is what to multiply the spread",
            "by to get the error that it stands for; the correlations say, atom by atom, how well a large spread marks",
            "a large error.",
            "",
            Table([*SPREAD.values()], [[number(spread[name]) for name in SPREAD]]).markdown(),
            "",
        ]
    )


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [number(row.get(name)) for name in COLUMNS]
