"""Tables of kinds and of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms

from ru_calc.reports.tables import Table, tabulate, text
from ru_calc.sample.catalogue import KINDS, fewest_atoms, most_atoms
from ru_calc.sample.dynamics import MD_KINDS, MDKind
from ru_calc.sample.kind import Kind


def kinds_table(kinds: Mapping[str, Kind] | Mapping[str, MDKind]) -> Table:
    """Name, contents, default count, atoms and own limit of the nearest distance of every kind."""
    records = [
        {
            "kind": kind.name,
            "makes": kind.makes + _temperatures(kind),
            "count": kind.count,
            "atoms": _span(fewest_atoms(kind), most_atoms(kind)),
            "nearest": kind.nearest_A,
        }
        for kind in kinds.values()
    ]
    heads = {"kind": "kind", "what it makes": "makes", "frames": "count", "atoms": "atoms", "nearest (Å)": "nearest"}
    return tabulate(records, {head: text(key) for head, key in heads.items()})


def _temperatures(kind: Kind | MDKind) -> str:
    return f", {kind.temperature_K[0]:g}–{kind.temperature_K[1]:g} K" if isinstance(kind, MDKind) else ""


def all_kinds() -> tuple[Table, Table]:
    """Of static kinds, and of kinds of molecular dynamics."""
    return kinds_table(KINDS), kinds_table(MD_KINDS)


def frames_table(frames: Sequence[Atoms]) -> Table:
    """Frames, atoms, nearest distance and volume per atom of each `config_type`."""
    groups: dict[str, list[Atoms]] = {}
    for atoms in frames:
        groups.setdefault(atoms.info["config_type"], []).append(atoms)
    heads = ("config_type", "kind", "frames", "atoms", "nearest distance (Å)", "volume per atom (Å³)")
    return tabulate([_record(name, group) for name, group in groups.items()], {head: text(head) for head in heads})


def _record(name: str, group: Sequence[Atoms]) -> dict[str, object]:
    sizes = [len(atoms) for atoms in group]
    nearest = [atoms.info["dmin"] for atoms in group if "dmin" in atoms.info]
    volumes = np.array([atoms.get_volume() for atoms in group]) / sizes
    return {
        "config_type": name,
        "kind": group[0].info["kind"],
        "frames": len(group),
        "atoms": _span(min(sizes), max(sizes)),
        "nearest distance (Å)": _span(f"{min(nearest):.2f}", f"{max(nearest):.2f}") if nearest else None,
        "volume per atom (Å³)": _span(f"{volumes.min():.1f}", f"{volumes.max():.1f}"),
    }


def _span(low: object, high: object) -> str:
    return f"{low}" if low == high else f"{low}–{high}"
