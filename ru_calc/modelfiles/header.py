"""What the header of a model file must hold, and what its weights must look like, checked before either is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from reprlib import Repr
from typing import Any

import numpy as np

from ru_calc.errors import ModelError, SettingsError, choices
from ru_calc.modelfiles.golden import ENERGIES, FIRST_VERSION, FORCES, golden_structures
from ru_calc.potentials.settings import SchNetSettings
from ru_calc.potentials.values import type_rule
from ru_calc.tables.uncertainty import Uncertainty, network_weights

SCHEMA, VERSION = "ru-calc/model", 2
UNITS = {"length": "Angstrom", "energy": "eV", "forces": "eV/Angstrom", "stress": "eV/Angstrom^3"}
# Hyperparameters that older files lack.
EARLIER = {"schnet": {"spline_intervals": 0}}
WAY_OUT = "copy or fit it again"
SHORT = Repr()  # for messages
SHORT.maxstring = SHORT.maxother = 60
SHORT.maxlist = SHORT.maxlevel = 2


@dataclass(frozen=True)
class Entry:
    """One entry of a header: what it must be, and whether a file without it is refused."""

    fine: Callable[[Any], bool]
    rule: str
    needed: bool = True


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return _whole(value) or (isinstance(value, float) and math.isfinite(value))


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _vectors(value: Any) -> bool:
    return isinstance(value, list) and all(_numbers(row) and len(row) == 3 for row in value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


ENTRIES = {
    "family": Entry(_text, "the name of a family"),
    "units": Entry(lambda value: value == UNITS, f"{UNITS}"),
    "hyperparameters": Entry(_object, "an object"),
    "cutoff_A": Entry(_number, "a number in Å"),
    "conservative": Entry(lambda value: isinstance(value, bool), "true or false"),
    ENERGIES: Entry(_numbers, "a list of numbers in eV"),
    FORCES: Entry(_vectors, "a list of vectors in eV/Å", needed=False),
    **dict.fromkeys(("level_of_theory", "energy_reference", "data", "licence"), Entry(_text, "a text", needed=False)),
    **dict.fromkeys(
        ("init_from", "init_from_sha256"),
        Entry(lambda value: value is None or _text(value), "a text or null", needed=False),
    ),
    **dict.fromkeys(("seed", "mean_of"), Entry(_whole, "a whole number", needed=False)),
    **dict.fromkeys(("other_levels", "fit", "metrics", "uncertainty"), Entry(_object, "an object", needed=False)),
}


def check_version(header: Any, name: str) -> None:
    """Refuses a header of something else or of a newer version.

    Raises:
        ModelError: naming both, and what to do.
    """
    schema, version = (header.get("schema"), header.get("version", 0)) if _object(header) else (None, 0)
    if schema != SCHEMA or not _whole(version) or version < 1:
        raise ModelError(
            f"{name} has schema {SHORT.repr(schema)} version {SHORT.repr(version)}; a model file has {SCHEMA!r} "
            f"version {VERSION} or lower: give a file that ru-calc wrote"
        )
    if version > VERSION:
        raise ModelError(
            f"{name} has version {SHORT.repr(version)}; this ru-calc reads versions up to {VERSION}: upgrade ru-calc"
        )


def checked_header(header: dict[str, Any], name: str) -> dict[str, Any]:
    """A header with every entry checked by type and range, and completed where older files lack something.

    Args:
        name: of the file, for messages.

    Raises:
        ModelError: naming the entry, its value, the rule and the way out.
    """
    for key, entry in ENTRIES.items():
        if key not in header and entry.needed:
            raise ModelError(f"{name}: its header has no {key}; {WAY_OUT}")
        if key in header and not entry.fine(header[key]):
            raise _wrong(name, key, header[key], entry.rule)
    family = header["family"]
    hyperparameters = complete(family, header["hyperparameters"])
    settings = _settings(family, hyperparameters, name)
    if header["cutoff_A"] != settings.cutoff_A:
        raise _wrong(name, "cutoff_A", header["cutoff_A"], f"that of the hyper-parameters, {settings.cutoff_A}")
    if family == "schnet" and not header["conservative"]:
        raise _wrong(name, "conservative", False, "true for the family schnet")
    _check_golden_sizes(header, settings.cutoff_A, name)
    if "uncertainty" in header:
        threshold = header["uncertainty"].get("threshold_eV_per_A")
        if not (_number(threshold) and threshold > 0):
            raise _wrong(name, "uncertainty.threshold_eV_per_A", threshold, "a number above 0 in eV/Å")
    return {**header, "hyperparameters": hyperparameters}


def complete(family: str, hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Stored hyperparameters, with those that older files lack."""
    return {**EARLIER.get(family, {}), **hyperparameters}


def _wrong(name: str, key: str, value: Any, rule: str) -> ModelError:
    return ModelError(f"{name}: {key} of its header is {SHORT.repr(value)}; it must be {rule}: {WAY_OUT}")


def settings_class(family: str, name: str) -> type:
    """The hyper-parameters of a family; torch is imported for families other than schnet only.

    Raises:
        ModelError: an unknown family.
    """
    if family == "schnet":
        return SchNetSettings
    from ru_calc.potentials import FAMILIES

    if family not in FAMILIES:
        raise ModelError(f"{name}: there is no family {SHORT.repr(family)}; {choices(family[:60], FAMILIES)}")
    return FAMILIES[family][1]


def _settings(family: str, hyperparameters: dict[str, Any], name: str) -> Any:
    kind = settings_class(family, name)
    known = {field.name for field in fields(kind)}
    for key in sorted(known ^ hyperparameters.keys()):
        problem = "which is missing" if key in known else f"which the family {family} does not have"
        raise ModelError(
            f"{name}: its header has a wrong list of hyperparameters: {SHORT.repr(key)}, {problem}; {WAY_OUT}"
        )
    for key, value in hyperparameters.items():
        rule = type_rule(kind, key, value)
        if rule is not None:
            raise _wrong(name, f"hyperparameters.{key}", value, rule)
    try:
        return kind(**hyperparameters)
    except SettingsError as problem:
        raise ModelError(f"{name}: hyperparameters of its header: {str(problem)[:300]}: {WAY_OUT}") from problem


def _check_golden_sizes(header: dict[str, Any], cutoff_A: float, name: str) -> None:
    first = header["version"] == 1
    if not first and FORCES not in header:
        raise ModelError(f"{name}: its header has no {FORCES}; {WAY_OUT}")
    structures = golden_structures(cutoff_A, FIRST_VERSION if first else None)
    for key, size in ((ENERGIES, len(structures)), (FORCES, structures.n_atoms)):
        if key in header and len(header[key]) != size:
            raise _wrong(name, key, header[key], f"{size} entries long")


def check_weights(header: dict[str, Any], weights: Mapping[str, np.ndarray], name: str) -> None:
    """Refuses weights that are not finite, or do not fit a checked header.

    Raises:
        ModelError: naming the weight.
    """
    for key, array in weights.items():
        if not np.isfinite(array).all():
            raise ModelError(f"{name}: weight {SHORT.repr(key)} is not finite; {WAY_OUT}")
    if header["family"] == "schnet":
        settings = SchNetSettings(**header["hyperparameters"])
        check_shapes(settings.shapes(), network_weights(weights), name)
    _check_uncertainty(header, weights, name)


def check_shapes(expected: Mapping[str, tuple[int, ...]], weights: Mapping[str, np.ndarray], name: str) -> None:
    """Refuses weights of other names or shapes than expected.

    Raises:
        ModelError: naming the first.
    """
    for key in sorted(expected.keys() | weights.keys()):
        if key not in expected or key not in weights:
            what = f"{SHORT.repr(key)} is " + ("missing" if key in expected else "not part of it")
            raise ModelError(f"{name}: weights do not fit its header ({what}); {WAY_OUT}")
        if weights[key].shape != expected[key]:
            raise ModelError(
                f"{name}: weights do not fit its header ({key} has the shape {weights[key].shape} instead of "
                f"{expected[key]}); {WAY_OUT}"
            )


def _check_uncertainty(header: dict[str, Any], weights: Mapping[str, np.ndarray], name: str) -> None:
    own = {key: array for key, array in weights.items() if key not in network_weights(weights)}
    if not own and "uncertainty" not in header:
        return
    directions = own.get(Uncertainty.OFFSET, np.zeros(1)).size
    width = SchNetSettings(**header["hyperparameters"]).features if header["family"] == "schnet" else 0
    check_shapes(
        {Uncertainty.PROJECTION: (directions, width), Uncertainty.OFFSET: (directions,), Uncertainty.LAW: (2,)},
        own, name,
    )  # fmt: skip
    if "uncertainty" not in header:
        raise ModelError(f"{name}: its header has no uncertainty, but its weights have; {WAY_OUT}")
    factor, power = own[Uncertainty.LAW]
    if not (factor > 0 and 0 <= power <= 2):
        raise _wrong(name, Uncertainty.LAW, [float(factor), float(power)], "above 0, and between 0 and 2")
