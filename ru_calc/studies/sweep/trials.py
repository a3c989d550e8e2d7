"""The trials of a sweep: each has a name, and changes to the common settings."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ru_calc.errors import SettingsError
from ru_calc.fit.settings import BOUNDS, FitSettings, with_changes

Changes = dict[str, Any]
Trials = dict[str, Changes]
PRESET = "md"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SHARED = ("epochs", "split", "split_seed")

ONE_AT_A_TIME: dict[str, tuple[Any, ...]] = {
    "model.channels": (32, 96, 128),
    "model.blocks": (0, 2, 3),
    "model.cutoff_A": (4.5, 5.0, 6.0),
    "model.switch_A": (0.8, 2.0),
    "model.n_radial": (12, 32),
    "model.filter_hidden": (32, 128),
    "model.spline_intervals": (32, 128, 256),
    "model.angular_radial": (8, 24),
    "model.l_max": (3, 4, 5, 7),
    "model.triple": (0, 8, 24),
    "model.layer_norm": (True,),
    "model.readout": ([32], [128], [64, 64]),
    "huber_delta": (2.0,),
    "forces_share": (0.08,),
    "weight_decay": (0.0, 0.03),
    "ema": (0.99, 0.9995),
    "warmup": (0.0, 0.1),
}
HALVED_AND_DOUBLED = {
    "energy_weight": ("energy_weight",),
    "forces_weight": ("forces_weight",),
    "stress_weight": ("stress_weight",),
    "batch": BOUNDS,
    "rates": ("rate_embedding", "rate_blocks", "rate_readout"),
}
TOGETHER: Trials = {
    "batch-and-rates-double": {
        "batch_pairs": 1560, "rate_embedding": 2e-3, "rate_blocks": 2e-3, "rate_readout": 2e-3,
    },
    "plain": {"model.angular": False, "model.blocks": 3},
    "small": {"model.l_max": 3, "model.readout": [32]},
    "smaller": {
        "model.channels": 32, "model.l_max": 3, "model.angular_radial": 8, "model.triple": 8, "model.readout": [32],
    },
    "near": {"model.l_max": 3, "model.cutoff_A": 4.5, "model.switch_A": 1.0},
    "angles-only": {"model.blocks": 0, "model.angular_radial": 24, "model.triple": 24},
    "deep-and-narrow": {"model.channels": 32, "model.blocks": 3},
    "large": {"model.channels": 128, "model.blocks": 2, "model.angular_radial": 24, "model.triple": 24},
    "large-and-far": {
        "model.channels": 128, "model.blocks": 2, "model.angular_radial": 24, "model.triple": 24,
        "model.cutoff_A": 6.0, "model.switch_A": 1.6,
    },
}  # fmt: skip


def built_in(shared: Changes) -> Trials:
    """`base` without changes, a second seed, one setting changed at a time, and some combinations.

    Args:
        shared: changes to the preset for all trials; trials equal to `base` are left out.

    Raises:
        SettingsError: `shared` is wrong, or of a family other than schnet.
    """
    base = resolved(shared, {})
    if base.family != "schnet":
        raise SettingsError(f"the built-in trials are for family schnet, not {base.family}; give --trials FILE")
    trials: Trials = {"seed": {"seed": base.seed + 1}}
    for setting, values in ONE_AT_A_TIME.items():
        trials |= {f"{setting.removeprefix('model.')}-{_word(value)}": {setting: value} for value in values}
    for group, names in HALVED_AND_DOUBLED.items():
        for word, factor in (("half", 0.5), ("double", 2.0)):
            trials[f"{group}-{word}"] = {name: _scaled(getattr(base, name), factor) for name in names}
    trials |= TOGETHER
    others = {name: changes for name, changes in trials.items() if resolved(shared, changes) != base}
    return {"base": {}, **others}


def _word(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value).lower()


def _scaled(value: Any, factor: float) -> Any:
    if isinstance(value, tuple):
        return [factor * item for item in value]
    # A bound of 0 is none.
    return max(round(factor * value), min(value, 1)) if isinstance(value, int) else factor * value


def resolved(shared: Changes, changes: Changes) -> FitSettings:
    """The preset with the changes of all trials and of one; another `family` brings its own hyper-parameters.

    Raises:
        SettingsError: see `with_changes`.
    """
    family = shared.get("family", FitSettings.family)
    if changes.get("family", family) != family:
        shared = {name: value for name, value in shared.items() if not name.startswith("model.")}
    return with_changes(PRESET, shared | changes)


def read_trials(path: Path) -> Trials:
    """Trials from a JSON file: an object of objects, name → setting → value.

    Raises:
        SettingsError: the file is missing or does not hold this.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except (OSError, ValueError) as problem:
        raise SettingsError(f"the trials {path} cannot be read ({problem}); give a JSON file") from problem
    if not isinstance(found, dict) or not found or not all(isinstance(changes, dict) for changes in found.values()):
        raise SettingsError(f'{path} must hold trials by name, as {{"base": {{}}, "wide": {{"model.channels": 192}}}}')
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a name occurs twice in {', '.join(name for name, _ in pairs)}")
    return found


def check_trials(trials: Mapping[str, Changes], shared: Changes) -> dict[str, FitSettings]:
    """The settings of every trial.

    Raises:
        SettingsError: naming the trial that is wrong.
    """
    found = {}
    for name, changes in trials.items():
        if not NAME.fullmatch(name):
            raise SettingsError(f"trial {name!r}: it names a folder, so use letters, digits and . _ - only")
        odd = [setting for setting in SHARED if setting in changes]
        if odd:
            raise SettingsError(f"trial {name}: {odd[0]} is common to all trials; set it for the whole sweep")
        try:
            found[name] = resolved(shared, changes)
        except SettingsError as problem:
            raise SettingsError(f"trial {name}: {problem}") from problem
    return found
