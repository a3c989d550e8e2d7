"""What can be checked of a fit before its data are read: its folder, and the weights that it starts from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ru_calc.errors import SettingsError
from ru_calc.fit.runs import RunKind, changes, data_changes, plain, refuse
from ru_calc.fit.settings import FitSettings, differences
from ru_calc.fit.state import read_state
from ru_calc.modelfiles import load_model
from ru_calc.modelfiles.header import complete
from ru_calc.modelfiles.read import read_model_file

FIT = RunKind("fit", "settings.json")
TABLES = ("spline_intervals",)  # hyper-parameters that the weights do not depend on
STATE, METRICS = "state.safetensors", "metrics.json"
NO_LICENCE = "not stated"
LEAST_MEMBERS = 2


@dataclass(frozen=True)
class StoredFit:
    """The record of a fit in its run folder.

    Attributes:
        settings: plain values, by name.
        data: fingerprint of the data.
        init_from: name or file of the model that it started from, or None.
        licence: of the weights.
        committee: number of members; None for a single fit.
        init_from_sha256: of the model that it started from; None for a fit of an earlier version.
    """

    settings: dict[str, Any]
    data: str
    init_from: str | None
    licence: str
    committee: int | None
    init_from_sha256: str | None = None


def settings_of_model(model: str) -> dict[str, Any]:
    """Family and hyper-parameters of a model to start from, as `with_changes` takes them."""
    potential = load_model(model).potential
    # A network that was trained without tables gets them now: a step then costs a quarter.
    own = {name: value for name, value in potential.hyperparameters().items() if name not in TABLES or value}
    return {"family": potential.family, **{f"model.{name}": value for name, value in own.items()}}


def stored_fit(folder: Path) -> StoredFit:
    """The fit in a run folder.

    Raises:
        SettingsError: there is none, or its record is damaged.
        OutputError: the folder cannot be written.
    """
    return FIT.resume(folder, _stored)


def _stored(record: dict[str, Any]) -> StoredFit:
    settings, members = record["settings"], record.get("committee")
    model = complete(settings.get("family", FitSettings.family), settings["model"])
    if members is not None and (not isinstance(members, int) or members < LEAST_MEMBERS):
        raise ValueError(f"committee: {members!r}")
    licence = record.get("licence", NO_LICENCE)
    known = record.get("init_from_sha256")
    return StoredFit({**settings, "model": model}, str(record["data"]), record["init_from"], licence, members, known)


def sha256_of_start(folder: Path, init_from: str | None) -> str | None:
    """Hash of the model that the fit in a folder starts from: as it was when the fit began."""
    if init_from is None:
        return None
    return stored_fit(folder).init_from_sha256 if FIT.begun(folder) else read_model_file(init_from).sha256


def check_start(
    folder: Path,
    settings: FitSettings,
    init_from: str | None = None,
    resume: bool = False,
    data: str | None = None,
    committee: int | None = None,
) -> None:
    """Refuses a fit that cannot start, or cannot be resumed, in `folder`; changes nothing.

    Args:
        data: fingerprint of the data, if they have been read.
        committee: number of members that the folder is for; None for a single fit.

    Raises:
        SettingsError: the folder holds another fit, or none to resume, or one with other settings, or a damaged one;
            the weights to start from belong to another network.
        OutputError: the folder cannot be made or written.
    """
    if resume:
        _check_resumed(folder, settings, init_from, data, committee)
    else:
        FIT.claim(folder)
    if init_from is not None:
        _check_network(init_from, settings)


def _check_resumed(
    folder: Path, settings: FitSettings, init_from: str | None, data: str | None, committee: int | None
) -> None:
    before = stored_fit(folder)
    if before.committee is None and committee is not None:
        raise SettingsError(f"{folder} holds a single fit, not a committee; leave out --committee")
    if before.committee is not None and committee is None:
        raise SettingsError(
            f"{folder} holds a committee of {before.committee}, not a single fit; resume it by `ru-calc fit DATA -o "
            f"{folder} --resume`, or by run_committee"
        )
    old: dict[str, Any] = {"committee": before.committee, "init_from": before.init_from}
    new: dict[str, Any] = {"committee": committee, "init_from": init_from}
    if init_from is not None and before.init_from_sha256 and not (folder / STATE).is_file():
        old["init_from"] = f"{before.init_from} ({before.init_from_sha256[:12]})"
        new["init_from"] = f"{init_from} ({read_model_file(init_from).sha256[:12]})"
    refuse(
        [*differences(before.settings, settings), *changes(old, new), *data_changes(before.data, data)],
        f"fit anew in another folder (--init-from {folder} starts from the weights of this one)",
    )
    if (folder / STATE).is_file():
        read_state(folder / STATE)


def _check_network(init_from: str, settings: FitSettings) -> None:
    start = load_model(init_from).potential
    asked = {"family": settings.family, **settings.model}
    found = {"family": start.family, **start.hyperparameters()}
    for name in [name for name in found if name in asked and name not in ("atom_energy_eV", *TABLES)]:
        if plain(found[name]) != plain(asked[name]):
            raise SettingsError(
                f"{init_from} has {name} = {found[name]}, the settings say {asked[name]}; keep the model's"
            )


def epochs_done(folder: Path) -> int:
    """Number of epochs that are finished and kept in a run folder."""
    return read_state(folder / STATE).progress.epoch if (folder / STATE).is_file() else 0
