"""All settings and hyper-parameters with their meaning, for `ru-calc fit --list-settings`."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from inspect import cleandoc
from typing import Any

from ru_calc.fit.settings import FitSettings
from ru_calc.potentials import FAMILIES
from ru_calc.potentials.base import AnchoredSettings

WIDTH = 100


def listing() -> str:
    """The settings of a fit, their meaning and values in the preset `md`, then the hyper-parameters of every family."""
    parts = [_part("settings, as --set NAME=VALUE", FitSettings)]
    parts.append(_part("hyper-parameters of all families but paper, as --set model.NAME=VALUE", AnchoredSettings, ""))
    parts += [_part(f"of family {name}", settings) for name, (_, settings) in FAMILIES.items()]
    return "\n\n".join(parts)


def _part(title: str, settings: type, values: str | None = None) -> str:
    bases = [base for base in reversed(settings.__mro__) if base is settings or base not in AnchoredSettings.__mro__]
    meaning = "\n".join(filter(None, map(_attributes, bases)))
    if values is None:
        values = ", ".join(f"{name}={_value(value)}" for name, value in asdict(settings()).items() if value != {})
    paragraphs = [title, textwrap.indent(meaning, "  "), *textwrap.wrap(values, WIDTH)]
    return "\n".join(paragraph for paragraph in paragraphs if paragraph)


def _attributes(settings: type) -> str:
    return cleandoc("\n" + cleandoc(settings.__doc__ or "").partition("Attributes:\n")[2])


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
