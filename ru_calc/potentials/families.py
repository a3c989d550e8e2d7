"""Families of potentials by name; a new one is one file and one line here."""

from __future__ import annotations

from typing import Any

from ru_calc.errors import ModelError
from ru_calc.potentials.ani import ANI, ANISettings
from ru_calc.potentials.base import Potential
from ru_calc.potentials.calhousnet import CalHousNet, CalHousNetSettings
from ru_calc.potentials.gnn import GNN, GNNSettings
from ru_calc.potentials.kan import KAN, KANSettings
from ru_calc.potentials.paper import PaperSchNet, PaperSettings
from ru_calc.potentials.schnet import SchNet, SchNetSettings

FAMILIES: dict[str, tuple[type[Potential], type]] = {
    "schnet": (SchNet, SchNetSettings),
    "paper": (PaperSchNet, PaperSettings),
    "ani": (ANI, ANISettings),
    "kan": (KAN, KANSettings),
    "gnn": (GNN, GNNSettings),
    "calhousnet": (CalHousNet, CalHousNetSettings),
}


def build_potential(family: str, hyperparameters: dict[str, Any]) -> Potential:
    """A potential with fresh weights.

    Raises:
        ModelError: an unknown family or hyper-parameter.
    """
    if family not in FAMILIES:
        raise ModelError(f"there is no family {family!r}; choose one of {', '.join(FAMILIES)}")
    potential, settings = FAMILIES[family]
    try:
        return potential(settings(**hyperparameters))
    except TypeError as problem:
        raise ModelError(f"family {family!r}: {problem}") from problem
