"""A committee: fits that differ only in their seeds, and how well their spread predicts their error; or in their folds.

The folder holds `settings.json`, `split.json`, a run folder for each member (`member_1`, `member_2`, …),
`committee.json` and `committee.md`.  Member k has the seed `seed` + k − 1; all have the split of the first, or, if
`folds` of the settings is not 0, member k is tested on fold k.  If all start from the weights of one model
(`init_from`), `best.safetensors` has the mean of their weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from ru_calc.dataset import Dataset
from ru_calc.errors import SettingsError
from ru_calc.evaluate.metrics import QUANTITIES, SCALES, Comparison
from ru_calc.evaluate.report import group_table
from ru_calc.files import owned, read_json, write_json, write_text
from ru_calc.fit.folds import add_uncertainty_of_folds, pooled, save_mean, warn_of_seen_frames
from ru_calc.fit.levels import fingerprint
from ru_calc.fit.members import member_folder, settings_of
from ru_calc.fit.report import open_fitted
from ru_calc.fit.run import FitInput, begin_fit, finish_fit, finished, splits_of, write_splits
from ru_calc.fit.runs import Log
from ru_calc.fit.settings import FitSettings
from ru_calc.fit.start import FIT, LEAST_MEMBERS, check_start
from ru_calc.modelfiles.read import BEST
from ru_calc.predictor import predict_all
from ru_calc.reports.tables import page, tabulate, text, value

COLUMNS = {
    "": text("folder"), "seed": text("seed"), "E MAE (meV/atom)": value("energy_MAE_meV_per_atom"),
    "E RMSE": value("energy_RMSE_meV_per_atom"), "F MAE (meV/Å)": value("forces_MAE_meV_per_A"),
    "F RMSE": value("forces_RMSE_meV_per_A"), "σ MAE (GPa)": value("stress_MAE_GPa"),
}  # fmt: skip
SPREAD = {
    "spread, rms (meV/Å)": value("spread_rms_meV_per_A"), "error, rms (meV/Å)": value("error_rms_meV_per_A"),
    "error / spread": value("ratio"), "correlation": value("correlation"), "of ranks": value("rank_correlation"),
}  # fmt: skip


def run_committee(
    job: FitInput, members: int, resume: bool = False, say: Log = print, bar: Any = None
) -> dict[str, Any]:
    """Fits the members one after the other, or resumes a committee, and evaluates it.

    Args:
        job: of the first member, with the folder of the committee.
        members: their number, at least 2.
        resume: resume in `job.folder`; finished members are kept.
        say, bar: see `run_fit`.

    Returns:
        The contents of `committee.json`: `part` (`test`, or `validation` without test frames), `members` (`folder`,
        `seed` and `errors` of each on every part, as in `metrics.json`), `mean` (errors of the mean prediction on
        `part`) and `spread` (see `spread_of_forces`); with folds, `errors` and `groups` instead of these two (see
        `folds.pooled`).

    Raises:
        SettingsError, OutputError: see `check_committee`.
        DataError: see `ru_calc.fit.run.splits_of`.
    """
    with owned(job.folder):
        return _committee(job, members, resume, say, bar)


def _committee(job: FitInput, members: int, resume: bool, say: Log, bar: Any) -> dict[str, Any]:
    check_committee(job.folder, members, job.settings, job.init_from, resume, fingerprint(job.levels))
    warn_of_seen_frames(job, say)
    splits = splits_of(job)
    split = splits[0]
    if not resume:
        begin_fit(job, committee=members)
    write_splits(job, splits)
    found: list[dict[str, Any]] = []
    for k in range(1, members + 1):
        member = replace(job, folder=member_folder(job.folder, k), settings=settings_of(job.settings, k))
        errors = finish_fit(member, f"seed {member.settings.seed}", say, bar)
        found.append({"folder": member.folder.name, "seed": member.settings.seed, "errors": errors})
    part = "test" if len(split["test"]) else "validation"
    files = [job.folder / one["folder"] / BEST for one in found]
    if job.settings.folds:
        result = {"part": part, "members": found, **pooled(job)}
    else:
        result = {"part": part, "members": found, **judged(files, job.dataset.select(split[part]))}
    if job.init_from is not None:
        result["weights"] = "mean of the members"
        save_mean(files, job.folder / BEST)
        add_uncertainty_of_folds(job, say)
    write_json(job.folder / "committee.json", result)
    write_text(job.folder / "committee.md", report(result))
    say(report(result).rstrip())
    return dict(read_json(job.folder / "committee.json"))  # with None for NaN


def check_committee(
    folder: Path,
    members: int,
    settings: FitSettings,
    init_from: str | None = None,
    resume: bool = False,
    data: str | None = None,
) -> None:
    """Refuses a committee that cannot start, or cannot be resumed, in `folder`; changes nothing.

    Raises:
        SettingsError: there are too few members, or a member's folder holds another fit; else see `check_start`.
        OutputError: the folder cannot be made or written.
    """
    if settings.folds not in (0, members):
        raise SettingsError(f"there are {settings.folds} folds, but {members} members; give one member for each fold")
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
    """Run folder of the first unfinished member, or of the last."""
    folders = [member_folder(folder, k) for k in range(1, members + 1)]
    return next((one for one in folders if not finished(one)), folders[-1])


def judged(files: Sequence[Path], dataset: Dataset) -> dict[str, Any]:
    """`mean`: errors of the models' mean prediction on a set; `spread`: see `spread_of_forces`."""
    found = [predict_all(open_fitted(file).predictor, dataset.structures, QUANTITIES) for file in files]
    mean = Comparison(dataset, *(np.mean([getattr(one, name) for one in found], axis=0) for name in QUANTITIES))
    spread = spread_of_forces(np.array([one.forces for one in found]), dataset.forces)
    return {"mean": mean.row(), "spread": spread}


def spread_of_forces(forces: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Compares the members' spread with the error of their mean, atom by atom.

    With m members, spread s_i² = Σ_k |F_ki − F̄_i|² / 3 (m − 1) and error e_i² = |F̄_i − F_i|² / 3, both per component.

    Args:
        forces: (m, n, 3) of the members, eV/Å.
        labels: (n, 3) eV/Å, NaN where missing.

    Returns:
        `atoms` compared; `spread_rms_meV_per_A` and `error_rms_meV_per_A` over them; `ratio` of error to spread (above
        1 the spread underestimates the error); `correlation` of s_i and e_i, and `rank_correlation` of their ranks.
        NaN where there is nothing to compare.
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
    """`committee.md`: errors of the members, and of their mean and its spread, or of all folds by group."""
    members, part = result["members"], result["part"]
    if "groups" in result:
        rows = [{**one, **one["errors"][part]} for one in members]
        return page(
            f"# {len(members)} folds",
            "Errors of each member on the frames of its fold, which it has not seen:",
            tabulate(rows, COLUMNS).markdown(),
            "Errors of all frames, each by the member that has not seen it:",
            group_table(result["groups"]).markdown(),
        )
    spread = result["spread"]
    rows = [{**one, **one["errors"][part]} for one in members] + [{"folder": "mean of all", **result["mean"]}]
    return page(
        f"# A committee of {len(members)}",
        f"Errors on the {part} frames ({result['mean']['frames']}):",
        tabulate(rows, COLUMNS).markdown(),
        f"Spread of the forces (standard deviation of the {len(members)} members) and error of their mean, per "
        f"component, over {spread['atoms']} atoms of these frames. Multiply the spread by error / spread to estimate "
        "the error; the correlations tell how reliably atoms with a large spread have a large error.",
        tabulate([spread], SPREAD).markdown(),
    )
