"""The card of a model, from measurements alone: data, command, errors, properties, and where not to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ru_calc.evaluate.metrics import ALL
from ru_calc.evaluate.report import ERROR_COLUMNS
from ru_calc.reports.tables import Cell, Record, Table, bullets, page, percent, tabulate, text, value

PEER_COLUMNS = ("E MAE\n(meV/atom)", "F RMSE /\nrms force")
# Relative force errors mean nothing where symmetry makes every force vanish.
FORCES_OFF, SMALL_FORCE_MEV_PER_A = 0.15, 5.0
Rows = Sequence[Mapping[str, Any]]
GROUPS = {
    "small cells": ("small_",),
    "bulk": ("eos_", "coa_", "rattle_", "phonon_", "md_bulk"),
    "defects": ("vac_", "divac_", "trivac_", "sia_", "md_defect"),
    "faults": ("stacking", "gamma", "decohesion"),
    "surfaces": ("surf_", "md_slab"),
    "liquid and disordered": ("md_liquid", "md_quench", "md_stretch", "random"),
    "clusters and molecules": ("cluster", "dimer", "trimer", "isolated", "md_cluster"),
}


@dataclass(frozen=True)
class CardFacts:
    """What a card reports.

    Attributes:
        name: of the model.
        header: of its file.
        errors: rows of `ru_calc.evaluate.metrics.error_table` for train, validation and test.
        groups: the same, with `group_of` each config type in its place.
        properties: the table of `ru_calc.properties` in Markdown.
        command: how the model was made.
        peers: name → rows of another calculator on the same test frames.
        notes: further sentences on where not to trust it.
        speeds: rows `model`, `header`, `atoms`, `cpu_us` (of one core, per atom and force call) of a benchmark.
    """

    name: str
    header: Mapping[str, Any]
    errors: Rows
    groups: Rows
    properties: str
    command: str
    peers: Mapping[str, Rows]
    notes: Sequence[str]
    speeds: Rows = ()


def card(facts: CardFacts) -> str:
    """The card in Markdown."""
    speeds = ["## Accuracy against speed", speed_table(facts.speeds).markdown()] if facts.speeds else []
    test = [row for row in facts.errors if row["split"] == "test"]
    splits = {"split": text("split"), "frames": text("frames")} | ERROR_COLUMNS
    kinds = {"kind": text("config_type"), "frames": text("frames")} | ERROR_COLUMNS
    return page(
        f"# Model `{facts.name}`",
        _origin(facts),
        "## Network",
        _settings(facts.header["family"], facts.header["hyperparameters"]),
        "## Errors per split",
        tabulate([row for row in facts.errors if row["config_type"] == ALL], splits).markdown(),
        "## Errors on the test split, by group",
        tabulate([row for row in facts.groups if row["split"] == "test"], kinds).markdown(),
        "## Errors on the test split, by config type",
        tabulate(test, kinds | _of_peers(facts.peers)).markdown(),
        "## Properties",
        facts.properties,
        *speeds,
        "## Where not to trust it",
        _warnings(facts),
    )


def _origin(facts: CardFacts) -> str:
    header, fit = facts.header, facts.header.get("fit", {})
    frames = ", ".join(f"{row['frames']} {row['split']}" for row in facts.errors if row["config_type"] == ALL)
    lines = {
        "Data": f"labels: {header['level_of_theory']}; {header['energy_reference']}; SHA-256 {header['data'][:16]}…",
        "Frames": f"{frames} (split {fit.get('split')}, by group)",
        "Command": f"`{facts.command}`",
        "Seed": header["seed"],
        "Epochs": f"{header['metrics']['epoch']:.0f} of {fit.get('epochs')} (best validation loss)",
        "Licence": header["licence"],
        "Conservative": "yes" if header["conservative"] else "no: forces are not the gradient of the energy",
    }
    return bullets(f"**{name}**: {words}" for name, words in lines.items())


def _settings(family: str, settings: Mapping[str, Any]) -> str:
    return f"Family `{family}`: " + ", ".join(f"{name} {value}" for name, value in settings.items()) + "."


def group_of(config_type: str) -> str:
    """The kind of simulation that a config type belongs to."""
    return next((group for group, starts in GROUPS.items() if config_type.startswith(starts)), "other")


def _of_peers(peers: Mapping[str, Rows]) -> dict[str, Cell]:
    """Columns with the errors of each peer on the frames of the same config type."""
    columns: dict[str, Cell] = {}
    for name, rows in peers.items():
        of_kind = {row["config_type"]: row for row in rows}
        for heading in PEER_COLUMNS:
            columns[f"{name}: {heading}"] = partial(_peer_cell, of_kind, ERROR_COLUMNS[heading])
    return columns


def _peer_cell(of_kind: Mapping[str, Record], cell: Cell, row: Record) -> str:
    return cell(of_kind.get(row["config_type"], {}))


def speed_table(speeds: Rows) -> Table:
    """Networks with their validation errors and the time of a force call."""
    columns = {
        "model": lambda row: f"`{row['model']}`",
        "network": lambda row: _network(row["header"]["hyperparameters"]),
        "validation F MAE (meV/Å)": value("header.metrics.validation_forces_meV_per_A"),
        "E MAE (meV/atom)": value("header.metrics.validation_energy_meV_per_atom"),
        f"µs of one core per atom ({speeds[0]['atoms']} atoms)": lambda row: f"{row['cpu_us']:.1f}",
    }
    return tabulate(speeds, columns)


def _network(settings: Mapping[str, Any]) -> str:
    angles = f"l ≤ {settings['l_max']}, {settings['angular_radial']} radial" if settings.get("angular") else "no angles"
    return f"{settings['channels']} channels, {settings['blocks']} blocks, {angles}"


# Forces that vanish by symmetry are rounding on both sides.
MEASURABLE = {"energy_MAE_meV_per_atom": 0.0, "forces_RMSE_meV_per_A": 0.1}


def beaten_by(facts: CardFacts, peer: str) -> list[str]:
    """Config types of the test split on which the peer has a smaller force or energy error."""
    others, lost = {row["config_type"]: row for row in facts.peers[peer]}, []
    for row in facts.errors:
        other = others.get(row["config_type"], {}) if row["split"] == "test" else {}
        worse = [
            name.partition("_")[0]
            for name, least in MEASURABLE.items()
            if other.get(name) is not None and row[name] > max(other[name], least)
        ]
        lost += [f"{row['config_type']} ({', '.join(worse)})"] if worse else []
    return lost


def _warnings(facts: CardFacts) -> str:
    off = [
        f"{row['config_type']} ({percent(row['forces_relative'])})"
        for row in facts.errors
        if row["split"] == "test" and row["config_type"] != ALL
        if row["forces_RMSE_meV_per_A"] > SMALL_FORCE_MEV_PER_A and row["forces_relative"] > FORCES_OFF
    ]
    lines = [
        "It reproduces its labels with their faults; it is no closer to experiment than they are.",
        "It knows no other elements, and neither charges, magnetism nor electronic temperature.",
    ]
    if off:
        lines.append(f"Force RMSE above {percent(FORCES_OFF, 0)} of the rms force on: {', '.join(off)}.")
    for peer in facts.peers:
        lost = beaten_by(facts, peer)
        lines.append(
            f"{peer} has the smaller error on: {', '.join(lost)}."
            if lost
            else f"It beats {peer} on every config type of the test split, in energies and forces."
        )
    return bullets([*lines, *facts.notes])
