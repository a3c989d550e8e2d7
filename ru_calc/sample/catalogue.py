"""All kinds by name, and which of them are wanted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

from ru_calc.errors import SettingsError, choices
from ru_calc.sample.crystals import CRYSTALS
from ru_calc.sample.defects import DEFECTS
from ru_calc.sample.dynamics import MD_KINDS, MDKind
from ru_calc.sample.faults import FAULTS
from ru_calc.sample.kind import Kind
from ru_calc.sample.molecules import MOLECULES
from ru_calc.sample.packings import PACKINGS
from ru_calc.sample.settings import SampleSettings
from ru_calc.sample.slabs import SLABS

KINDS = {kind.name: kind for kind in (*CRYSTALS, *DEFECTS, *FAULTS, *SLABS, *PACKINGS, *MOLECULES)}


def fewest_atoms(kind: Kind | MDKind) -> int:
    """Atoms in the smallest frames of a kind."""
    return kind.fewest if isinstance(kind, Kind) else min(KINDS[start].fewest for start in kind.starts)


def most_atoms(kind: Kind | MDKind) -> int:
    """Atoms in the largest frames of a kind."""
    return kind.most if isinstance(kind, Kind) else max(KINDS[start].most for start in kind.starts)


def wanted_kinds(settings: SampleSettings) -> tuple[dict[str, int], list[str]]:
    """Frames of each static kind, and the kinds that are left out because they need more atoms.

    Raises:
        SettingsError: an unknown kind, or one that is named and needs more atoms.
    """
    return _wanted({"*": None} if settings.kinds is None else settings.kinds, KINDS, settings.max_atoms)


def wanted_md_kinds(settings: SampleSettings) -> tuple[dict[str, int], list[str]]:
    """The same for kinds of runs."""
    return _wanted(settings.md, MD_KINDS, settings.max_atoms)


def _wanted(
    asked: Mapping[str, int | None], known: Mapping[str, Kind] | Mapping[str, MDKind], max_atoms: int
) -> tuple[dict[str, int], list[str]]:
    counts: dict[str, int] = {}
    left_out: list[str] = []
    for pattern, count in asked.items():
        for name in _matching(pattern, known):
            kind = known[name]
            if fewest_atoms(kind) <= max_atoms:
                counts[name] = kind.count if count is None else count
            elif name == pattern and count != 0:
                raise SettingsError(
                    f"max_atoms is {max_atoms}, but frames of {name} have {fewest_atoms(kind)} atoms or more: raise "
                    "it, or leave the kind out"
                )
            else:
                left_out.append(name)
    return {name: count for name, count in counts.items() if count}, list(dict.fromkeys(left_out))


def _matching(pattern: str, known: Collection[str]) -> list[str]:
    names = [name for name in known if fnmatchcase(name, pattern)]
    if not names:
        raise SettingsError(f"there is no kind {pattern!r}; {choices(pattern, known)}")
    return names
