"""Checks that the values of settings have the types of their fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from numbers import Integral, Real
from typing import Any, get_args, get_origin, get_type_hints

from ru_calc.errors import SettingsError

# Words for one value, and for several in a list.
WORDS = {
    int: ("a whole number", "whole numbers"), float: ("a number", "numbers"), bool: ("true or false", ""),
    str: ("a name", "names"),
}  # fmt: skip


def check_types(settings: type, values: Mapping[str, Any], prefix: str = "") -> None:
    """Refuses values of a wrong type.

    Args:
        settings: a dataclass whose fields all have defaults.
        values: by name of a field; lists pass for tuples, whole numbers for floats.
        prefix: of the names in the message.

    Raises:
        SettingsError: naming the field, its value and the rule.
    """
    for name, value in values.items():
        rule = type_rule(settings, name, value)
        if rule is not None:
            example = json.dumps(getattr(settings(), name), separators=(",", ":")).strip('"')
            raise SettingsError(f"{prefix}{name} is {value!r}; it must be {rule}, as --set {prefix}{name}={example}")


def type_rule(settings: type, name: str, value: Any) -> str | None:
    """What a field of a dataclass must be, if the value has another type; None if it fits."""
    kind = _kinds(settings)[name]
    return None if _fits(value, kind) else _words(kind)


@cache
def _kinds(settings: type) -> dict[str, Any]:
    return get_type_hints(settings)


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is tuple:
        one, *rest = get_args(kind)
        any_length = rest == [...]
        return (
            isinstance(value, list | tuple)
            and (any_length or len(value) == 1 + len(rest))
            and all(_fits(item, one) for item in value)
        )
    if kind in (int, float):
        number = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
        return number and value == value  # math.isnan overflows with a long integer
    return isinstance(value, kind)


def _words(kind: Any) -> str:
    if get_origin(kind) is not tuple:
        return WORDS[kind][0]
    one, *rest = get_args(kind)
    count = "" if rest == [...] else f"{1 + len(rest)} "
    return f"a list of {count}{WORDS[one][1]}"
