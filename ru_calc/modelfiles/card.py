"""The card of a model: what it was made from, how far it is off, and where not to trust it, from measurements alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ru_calc.evaluate.metrics import ALL
from ru_calc.reports.markdown import markdown_table

SPLIT_COLUMNS = {
    "energy_MAE_meV_per_atom": "E MAE (meV/atom)", "energy_RMSE_meV_per_atom": "E RMSE",
    "forces_MAE_meV_per_A": "F MAE (meV/Å)", "forces_RMSE_meV_per_A": "F RMSE", "forces_relative": "F RMSE / rms force",
    "stress_MAE_GPa": "σ MAE (GPa)", "stress_RMSE_GPa": "σ RMSE",
}  # fmt: skip
TYPE_COLUMNS = {
    "energy_MAE_meV_per_atom": "E MAE (meV/atom)", "forces_RMSE_meV_per_A": "F RMSE (meV/Å)",
    "forces_relative": "F rel.", "stress_MAE_GPa": "σ MAE (GPa)",
}  # fmt: skip
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
    """All that a card is made of.

    Attributes:
        name: of the model.
        header: of its file.
        errors: rows of `ru_calc.evaluate.metrics.error_table` for train, validation and test.
        groups: the same with `group_of` each config type in its place.
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
    sections = [
        f"# Model `{facts.name}`",
        _origin(facts),
        "## Network",
        _settings(facts.header["family"], facts.header["hyperparameters"]),
        "## Errors per split",
        _split_table(facts.errors),
        "## Errors on the test split, by group",
        _type_table(facts.groups, {}),
        "## Errors on the test split, by config type",
        _type_table(facts.errors, facts.peers),
        "## Properties",
        facts.properties,
        *(["## Accuracy against speed", _speed_table(facts.speeds)] if facts.speeds else []),
        "## Where not to trust it",
        _warnings(facts),
    ]
    return "\n\n".join(section.strip() for section in sections) + "\n"


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
    return "\n".join(f"- **{name}**: {text}" for name, text in lines.items())


def _settings(family: str, settings: Mapping[str, Any]) -> str:
    return f"Family `{family}`: " + ", ".join(f"{name} {value}" for name, value in settings.items()) + "."


def group_of(config_type: str) -> str:
    """The group that a config type is counted in, by what a user would simulate."""
    return next((group for group, starts in GROUPS.items() if config_type.startswith(starts)), "other")


def _cell(name: str, value: float | None) -> str:
    if value is None or value != value:
        return "–"
    return (
        f"{100 * value:.1f} %" if name == "forces_relative" else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    )


def _split_table(errors: Rows) -> str:
    rows = [
        [row["split"], str(row["frames"]), *(_cell(name, row[name]) for name in SPLIT_COLUMNS)]
        for row in errors
        if row["config_type"] == ALL
    ]
    return markdown_table(["split", "frames", *SPLIT_COLUMNS.values()], rows)


def _type_table(errors: Rows, peers: Mapping[str, Rows]) -> str:
    of_peers = {name: {row["config_type"]: row for row in rows} for name, rows in peers.items()}
    compared = ("energy_MAE_meV_per_atom", "forces_relative")
    head = ["kind", "frames", *TYPE_COLUMNS.values()]
    head += [f"{name}: {TYPE_COLUMNS[column]}" for name in of_peers for column in compared]
    rows = []
    for row in errors:
        if row["split"] == "test":
            cells = [row["config_type"], str(row["frames"]), *(_cell(name, row[name]) for name in TYPE_COLUMNS)]
            for of_peer in of_peers.values():
                cells += [_cell(name, of_peer.get(row["config_type"], {}).get(name)) for name in compared]
            rows.append(cells)
    return markdown_table(head, rows)


def _speed_table(speeds: Rows) -> str:
    rows = []
    for row in speeds:
        settings, metrics = row["header"]["hyperparameters"], row["header"]["metrics"]
        angles = (
            f"l ≤ {settings['l_max']}, {settings['angular_radial']} radial" if settings.get("angular") else "no angles"
        )
        network = f"{settings['channels']} channels, {settings['blocks']} blocks, {angles}"
        errors = (metrics["validation_forces_meV_per_A"], metrics["validation_energy_meV_per_atom"])
        rows.append([f"`{row['model']}`", network, *(f"{error:.3g}" for error in errors), f"{row['cpu_us']:.1f}"])
    head = ["model", "network", "validation F MAE (meV/Å)", "E MAE (meV/atom)"]
    return markdown_table([*head, f"µs of one core per atom ({speeds[0]['atoms']} atoms)"], rows)


# Forces that vanish by symmetry are rounding on both sides.
MEASURABLE = {"energy_MAE_meV_per_atom": 0.0, "forces_RMSE_meV_per_A": 0.1}


def beaten_by(facts: CardFacts, peer: str) -> list[str]:
    """Config types of the test split on which a peer's force or energy error is the smaller one."""
    others = {row["config_type"]: row for row in facts.peers[peer]}
    lost = []
    for row in facts.errors:
        other = others.get(row["config_type"])
        if row["split"] == "test" and other is not None:
            worse = [
                name
                for name in MEASURABLE
                if other[name] is not None and row[name] > max(other[name], MEASURABLE[name])
            ]
            lost += [f"{row['config_type']} ({', '.join(name.split('_')[0] for name in worse)})"] if worse else []
    return lost


def _forces_are_off(row: Mapping[str, Any]) -> bool:
    return row["forces_RMSE_meV_per_A"] > SMALL_FORCE_MEV_PER_A and row["forces_relative"] > FORCES_OFF


def _warnings(facts: CardFacts) -> str:
    off = [
        f"{row['config_type']} ({_cell('forces_relative', row['forces_relative'])})"
        for row in facts.errors
        if row["split"] == "test" and row["config_type"] != ALL and _forces_are_off(row)
    ]
    lines = [
        "It repeats its labels, and their faults: it is no nearer to experiment than they are.",
        "Elements other than ruthenium, charges, magnetism and electronic temperature are outside it.",
    ]
    if off:
        share = f"{100 * FORCES_OFF:.0f} %"
        lines.append(f"Forces are off by more than {share} (test RMSE over rms force) on: {', '.join(off)}.")
    for peer in facts.peers:
        lost = beaten_by(facts, peer)
        if lost:
            lines.append(f"{peer} has the smaller error on: {', '.join(lost)}.")
        else:
            lines.append(f"It beats {peer} on every config type of the test split, in energies and forces.")
    return "\n".join(f"- {line}" for line in [*lines, *facts.notes])
