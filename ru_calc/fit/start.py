"""What can be said of a fit before its data are read: may it use the folder, and do the weights to start from fit?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ru_calc.errors import SettingsError
from ru_calc.files import check_folder, read_stored
from ru_calc.fit.settings import FitSettings, differences
from ru_calc.fit.state import read_state
from ru_calc.modelfiles import load_model
from ru_calc.modelfiles.read import complete

TABLES = ("spline_intervals",)  # hyper-parameters that the weights do not depend on
SETTINGS, STATE = "settings.json", "state.safetensors"
NO_LICENCE = "not stated"
LEAST_MEMBERS = 2


def check_start(
    folder: Path,
    settings: FitSettings,
    init_from: str | None = None,
    resume: bool = False,
    data: str | None = None,
    committee: int | None = None,
) -> None:
    """Refuses a fit that cannot start, or cannot go on, in `folder`; changes nothing.

    Args:
        data: fingerprint of the data, where they have been read.
        committee: how many members the folder is for; None for a single fit.

    Raises:
        SettingsError: the folder holds another fit, or none to resume, or one of other settings, or a damaged one; the
            weights to start from are of another network.
        OutputError: the folder cannot be made or written.
    """
    if resume:
        _check_resumed(folder, settings, init_from, data, committee)
    elif (folder / SETTINGS).is_file():
        raise SettingsError(f"{folder} already holds a fit; use --resume, or another folder")
    check_folder(folder)
    if init_from is not None:
        _check_network(init_from, settings)


@dataclass(frozen=True)
class StoredFit:
    """What a run folder says of its fit.

    Attributes:
        settings: plain values, by name.
        data: fingerprint of the data.
        init_from: name or file of the model whose weights were the start, or None.
        licence: of the weights.
        committee: how many members it has; None for a single fit.
    """

    settings: dict[str, Any]
    data: str
    init_from: str | None
    licence: str
    committee: int | None


def stored_fit(folder: Path) -> StoredFit:
    """The fit in a run folder.

    Raises:
        SettingsError: there is none, or its settings are damaged.
    """
    path = folder / SETTINGS
    if not path.is_file():
        raise SettingsError(f"{folder} holds no fit to resume; leave out --resume")

    def make(found: dict[str, Any]) -> StoredFit:
        family = found["settings"].get("family", FitSettings.family)
        settings = {**found["settings"], "model": complete(family, found["settings"]["model"])}
        members = found.get("committee")
        if members is not None and (not isinstance(members, int) or members < LEAST_MEMBERS):
            raise ValueError(f"committee: {members!r}")
        return StoredFit(settings, str(found["data"]), found["init_from"], found.get("licence", NO_LICENCE), members)

    return read_stored(path, make, "the fit ")


def epochs_done(folder: Path) -> int:
    """How many epochs of the fit in a run folder are finished and kept."""
    return read_state(folder / STATE).progress.epoch if (folder / STATE).is_file() else 0


def _check_resumed(
    folder: Path, settings: FitSettings, init_from: str | None, data: str | None, committee: int | None
) -> None:
    before = stored_fit(folder)
    if before.committee is None and committee is not None:
        raise SettingsError(f"{folder} holds a single fit, not a committee; leave out --committee")
    if before.committee is not None and committee is None:
        raise SettingsError(
            f"{folder} holds a committee of {before.committee}, not a single fit; `ru-calc fit DATA -o {folder} "
            "--resume`, or run_committee, goes on with it"
        )
    changed = differences(before.settings, settings)
    if before.committee != committee:
        changed.append(f"committee: {before.committee} → {committee}")
    if data not in (None, before.data):
        changed.append(f"data: {before.data[:12]} → {str(data)[:12]}")
    if before.init_from != init_from:
        changed.append(f"init_from: {before.init_from} → {init_from}")
    if changed:
        raise SettingsError(
            f"cannot resume with changed settings: {'; '.join(changed)}; leave them as they were, or fit anew in "
            f"another folder (--init-from {folder} goes on from the weights of this one)"
        )
    if (folder / STATE).is_file():
        read_state(folder / STATE)


def _check_network(init_from: str, settings: FitSettings) -> None:
    start = load_model(init_from).potential
    same = {"family": settings.family, **settings.model}
    found = {"family": start.family, **start.hyperparameters()}
    free = ("atom_energy_eV", *TABLES)
    odd = [n for n in found if n not in free and n in same and _plain(found[n]) != _plain(same[n])]
    if odd:
        raise SettingsError(
            f"{init_from} has {odd[0]} = {found[odd[0]]}, the settings say {same[odd[0]]}; keep the model's"
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
