"""What each round brought, as `learn.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ru_calc.reports.tables import page, share, tabulate, text, value

if TYPE_CHECKING:
    from ru_calc.studies.learn.rounds import Loop
    from ru_calc.studies.learn.settings import LearnSettings

ROUNDS = {
    "round": text("round"), "candidates": text("candidates"), "uncertain": text("uncertain"),
    "labelled": text("labelled"), "failed": text("failed"), "CPU (min)": value("labelling_cpu_min"),
    "expected error (eV/Å)": value("expected_error_eV_per_A"), "actual error": value("actual_error_eV_per_A"),
    "frames in the fit": text("frames"),
}  # fmt: skip
GROUPS = {
    "round": text("round"), "group": text("config_type"), "frames": text("frames"),
    "F error per frame": share("forces_frame_error"), "F RMSE (meV/Å)": value("forces_RMSE_meV_per_A"),
    "E RMSE (meV/atom)": value("energy_RMSE_meV_per_atom"), "σ RMSE (GPa)": value("stress_RMSE_GPa"),
}  # fmt: skip


def report(loop: Loop, rows: Sequence[Mapping[str, Any]]) -> str:
    """Tables of all rounds."""
    settings = loop.settings
    parts = [
        f"# {len(rows) - 1} round{'' if len(rows) == 2 else 's'} of learning",
        f"Level of theory: {loop.dataset.level_of_theory}. {len(loop.dataset)} frames before the first round; every "
        f"fit starts from {settings.init_from}. {_kinds(settings)}, of at most {settings.max_atoms} atoms. A round "
        f"labels at most {settings.frames} of those with an atom above {_threshold(settings)} (seed {settings.seed}). "
        "The expected error is the rms uncertainty of the model before the round on the frames it chose, the actual "
        "one its rms error on them.",
        tabulate(rows, ROUNDS).markdown(),
        "Errors of the frames that were there before the first round, each by the member of the folds that has not "
        "seen it: what the frames of each round brought.",
        tabulate(_grouped(rows, "first frames"), GROUPS).markdown(),
        "The same for all frames so far.",
        tabulate(_grouped(rows, "all"), GROUPS).markdown(),
    ]
    if any("before" in row for row in rows):
        parts += [
            "Errors of the model of the round before on the new frames: they are those it was least sure of.",
            tabulate(_grouped(rows, "before"), GROUPS).markdown(),
        ]
    return page(*parts)


def _grouped(rows: Sequence[Mapping[str, Any]], table: str) -> list[dict[str, Any]]:
    return [{**one, "round": row["round"]} for row in rows for one in row.get(table, ())]


def _kinds(settings: LearnSettings) -> str:
    named = {"runs": settings.md, "static": settings.kinds}
    return "Candidates: " + ", and ".join(f"{what} {_counted(kinds)}" for what, kinds in named.items() if kinds)


def _counted(kinds: Mapping[str, int | None]) -> str:
    return ", ".join(name if count is None else f"{name}={count}" for name, count in kinds.items())


def _threshold(settings: LearnSettings) -> str:
    if settings.threshold_eV_per_A is None:
        return "the threshold of the last model"
    return f"{settings.threshold_eV_per_A:g} eV/Å"
