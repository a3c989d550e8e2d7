"""Several levels of theory in one fit: their networks share weights, and each level has its own zero of energy.

The first level is the one that the model predicts.  The networks of the others consist of its modules, except for those
that `own` names, of which every level has one of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ru_calc.dataset import Dataset
from ru_calc.dataset.levels import UNSTATED
from ru_calc.errors import DataError, SettingsError
from ru_calc.fit.batches import PackedFrames
from ru_calc.fit.losses import LabelStatistics
from ru_calc.potentials import Potential, build_potential


@dataclass(frozen=True)
class Level:
    """One level of theory in a fit.

    Attributes:
        potential: of this level, in the dtype and on the device of the frames.
        train, validation: frames to fit and to validate on.
        statistics: of the training labels.
    """

    potential: Potential
    train: PackedFrames
    validation: PackedFrames
    statistics: LabelStatistics


def share_modules(potentials: Sequence[Potential], own: Sequence[str]) -> None:
    """Replaces the modules of all potentials but the first by those of the first, except those named in `own`.

    Raises:
        SettingsError: the family has no such module, or its zero of energy is not a hyper-parameter.
    """
    first, *others = potentials
    if not others:
        return
    parts = [name for name, module in first.named_children() if any(True for _ in module.parameters())]
    if "atom_energy_eV" not in first.hyperparameters():
        raise SettingsError(f"family {first.family} has no zero of energy, so it is fitted to one level of theory only")
    unknown = [name for name in own if name not in parts]
    if unknown:
        raise SettingsError(f"own is {', '.join(own)}; the parts of family {first.family} are {', '.join(parts)}")
    for other in others:
        for name, module in first.named_children():
            if name not in own:
                setattr(other, name, module)


def copies(potentials: Sequence[Potential], own: Sequence[str]) -> list[Potential]:
    """Equal potentials that share modules in the same way, for averaged weights."""
    made = []
    for potential in potentials:
        copied = build_potential(potential.family, potential.hyperparameters())
        like = next(potential.parameters())
        copied.to(device=like.device, dtype=like.dtype).load_state_dict(potential.state_dict())
        made.append(copied)
    share_modules(made, own)
    return made


def parameters_of(networks: Sequence[nn.Module]) -> list[tuple[str, nn.Parameter]]:
    """Names and parameters of all networks, shared ones once."""
    found = {parameter: name for network in networks for name, parameter in network.named_parameters()}
    return [(name, parameter) for parameter, name in found.items()]


def by_level(datasets: Sequence[Dataset], names: Sequence[str], level: str | None) -> list[Dataset]:
    """One data set for each level of theory, that which the model is to predict first.

    Args:
        datasets: in order; those of one level are joined.
        names: by which they were given, for messages and for `level`.
        level: a name, or the level of theory as the files state it; None means that of the last data set.

    Raises:
        DataError: a data set does not state its level of theory, though there are several.
        SettingsError: no data set is of this level.
    """
    if len(datasets) == 1 and level in (None, names[0], datasets[0].level_of_theory):
        return list(datasets)
    for name, dataset in zip(names, datasets, strict=True):
        if dataset.level_of_theory == UNSTATED and len(datasets) > 1:
            raise DataError(
                f"{name} does not state its level of theory, so it cannot be told from the others; make it with "
                "'ru-calc convert --level-of-theory'"
            )
    stated = [dataset.level_of_theory for dataset in datasets]
    known = {**dict(zip(stated, stated, strict=True)), **dict(zip(names, stated, strict=True))}
    chosen = stated[-1] if level is None else known.get(level)
    if chosen is None:
        raise SettingsError(f"no data set is of level {level!r}; give one of {', '.join(map(repr, known))}")
    order = [chosen, *(one for one in dict.fromkeys(stated) if one != chosen)]
    return [Dataset.joined([d for d in datasets if d.level_of_theory == one]) for one in order]


def fingerprint(datasets: Sequence[Dataset]) -> str:
    """SHA-256 that identifies the frames of all levels; of one level, that of its data set."""
    found = [dataset.fingerprint() for dataset in datasets]
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()
