"""The card of a model, from measurements alone: data, command, errors, properties, and where not to trust it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ru_calc.dataset import Dataset
from ru_calc.dataset.groups import GROUPS, group_of
from ru_calc.evaluate.metrics import ALL
from ru_calc.evaluate.report import ERROR_COLUMNS
from ru_calc.reports.tables import NONE, Cell, Record, Table, bullets, page, percent, share, tabulate, text, value

PEER_COLUMNS = ("E RMSE", "F error\nper frame")
COMPARED = {"energy_RMSE_meV_per_atom": "energy", "forces_frame_error": "forces"}  # the same, as `error_table` has them
# Relative force errors mean nothing where symmetry makes every force vanish.
FORCES_OFF, SMALL_FORCE_MEV_PER_A = 0.15, 5.0
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class HeldOutErrors:
    """Errors on frames that were not fitted to, as `ru_calc.evaluate.metrics.error_table` gives them.

    Attributes:
        kinds: rows for all frames and each config type; empty where these are not known.
        groups: rows for all frames and each group of config types.
    """

    kinds: Rows
    groups: Rows

    @property
    def finest(self) -> str:
        """What is known: `kinds`, or else `groups`."""
        return "kinds" if self.kinds else "groups"


@dataclass(frozen=True)
class CardFacts:
    """What a card reports.

    Attributes:
        name: of the model.
        header: of its file.
        levels: the frames that it was made from, those of the model's level of theory first.
        parts: rows of `ru_calc.evaluate.metrics.error_table` for all frames of each part of the split, or of each fold.
        test: errors on frames not fitted to.
        properties: the table of `ru_calc.properties` in Markdown.
        commands: how the model was made.
        peers: name → errors of another calculator on the same test frames.
        notes: further sentences on where not to trust it.
        speeds: rows `model`, `header`, `atoms`, `cpu_us` (of one core, per atom and force call) of a benchmark.
        folds: number of folds, if every frame was a test frame of one of as many fits; else 0.
    """

    name: str
    header: Mapping[str, Any]
    levels: Sequence[Dataset]
    parts: Rows
    test: HeldOutErrors
    properties: str
    commands: Sequence[str]
    peers: Mapping[str, HeldOutErrors]
    notes: Sequence[str]
    speeds: Rows = ()
    folds: int = 0


def card(facts: CardFacts) -> str:
    """The card in Markdown."""
    speeds = ["## Accuracy against speed", speed_table(facts.speeds).markdown()] if facts.speeds else []
    where = f"held-out frames of {facts.folds} folds" if facts.folds else "the test split"
    kinds = (
        [f"## Errors on {where}, by config type", _test_table(facts, "kinds").markdown()] if facts.test.kinds else []
    )
    return page(
        f"# Model `{facts.name}`",
        _origin(facts),
        "## Frames, by group of config types",
        frame_table(facts.levels).markdown(),
        "## Network",
        _settings(facts.header["family"], facts.header["hyperparameters"]),
        f"## Errors per {'fold' if facts.folds else 'split'}",
        tabulate(facts.parts, {"split": text("split"), "frames": text("frames")} | ERROR_COLUMNS).markdown(),
        f"## Errors on {where}, by group",
        _test_table(facts, "groups").markdown(),
        *kinds,
        *_uncertainty(facts.header.get("uncertainty")),
        "## Properties",
        facts.properties,
        *speeds,
        "## Where not to trust it",
        _warnings(facts),
    )


def _origin(facts: CardFacts) -> str:
    header = facts.header
    others = [f"{other.level_of_theory} (SHA-256 {other.fingerprint()[:16]}…)" for other in facts.levels[1:]]
    lines = {
        "Data": f"labels: {header['level_of_theory']}; {header['energy_reference']}; SHA-256 {header['data'][:16]}…",
        "Fitted together with": "; ".join(others),
        "Frames": _frames(facts),
        "Start": f"the weights of `{header['init_from']}`" if header.get("init_from") else "",
        "Commands" if len(facts.commands) > 1 else "Command": "; ".join(f"`{command}`" for command in facts.commands),
        "Seed": header["seed"],
        "Epochs": _epochs(header),
        "Licence": header["licence"],
        "Conservative": "yes" if header["conservative"] else "no: forces are not the gradient of the energy",
    }
    return bullets(f"**{name}**: {words}" for name, words in lines.items() if words != "")


def _frames(facts: CardFacts) -> str:
    if facts.folds:
        return f"{len(facts.levels[0])} in {facts.folds} folds, each the test frames of one fit"
    split = facts.header.get("fit", {}).get("split")
    return ", ".join(f"{row['frames']} {row['split']}" for row in facts.parts) + f" (split {split}, by group)"


def _epochs(header: Mapping[str, Any]) -> str:
    fit = header.get("fit", {})
    if "mean_of" in header:
        return f"{fit.get('epochs')} of each of {header['mean_of']} fits, whose weights are averaged"
    chosen = "the last" if fit.get("keep") == "last" else "best validation loss"
    return f"{header['metrics']['epoch']:.0f} of {fit.get('epochs')} ({chosen})"


def _settings(family: str, settings: Mapping[str, Any]) -> str:
    return f"Family `{family}`: " + ", ".join(f"{name} {value}" for name, value in settings.items()) + "."


def frame_table(levels: Sequence[Dataset]) -> Table:
    """Numbers of frames and atoms of each level of theory, and frames of each group."""
    counts = [Counter(group_of(str(kind)) for kind in level.config_type) for level in levels]
    groups = [group for group in GROUPS if any(group in count for count in counts)]
    rows = [["all", *(f"{len(level)} ({level.structures.n_atoms} atoms)" for level in levels)]]
    rows += [[group, *(str(count[group]) if group in count else NONE for count in counts)] for group in groups]
    return Table(["group", *(level.level_of_theory for level in levels)], rows)


def _test_table(facts: CardFacts, by: str) -> Table:
    """Errors on test frames beside those of the peers."""
    columns: dict[str, Cell] = {"kind": text("config_type"), "frames": text("frames"), **ERROR_COLUMNS}
    for name, peer in facts.peers.items():
        of_kind = {row["config_type"]: row for row in getattr(peer, by)}
        for heading in PEER_COLUMNS:
            columns[f"{name}: {' '.join(heading.split())}"] = partial(_peer_cell, of_kind, ERROR_COLUMNS[heading])
    return tabulate(getattr(facts.test, by), columns)


def _uncertainty(entry: Mapping[str, Any] | None) -> list[str]:
    """How well the uncertainty of the model tells the errors of its forces; nothing if it has none."""
    if entry is None:
        return []
    found = entry["calibration"]
    kinds = [{"kind": kind, **row} for kind, row in found["by_config_type"].items()]
    columns = {
        "kind": text("kind"), "atoms": text("atoms"), "rank correlation": value("rank_correlation"),
        "errors within it (68 %)": share("coverage_68"), "within 1.96 times it (95 %)": share("coverage_95"),
    }  # fmt: skip
    return [
        "## Uncertainty of the forces",
        f"Calibrated on {found['frames']} frames that were not fitted to ({found['level_of_theory']}); the threshold "
        f"is {entry['threshold_eV_per_A']:.3g} eV/Å, and {percent(1 - found['below_threshold'])} of their atoms lie "
        "above it. Rank correlation is that with the error of the force.",
        tabulate([{"kind": ALL, **found}, *kinds], columns).markdown(),
    ]


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


def beaten_by(facts: CardFacts, peer: str) -> list[str]:
    """Config types (or groups) of the test frames on which the peer has a smaller force or energy error."""
    by = facts.test.finest
    others, lost = {row["config_type"]: row for row in getattr(facts.peers[peer], by)}, []
    for row in getattr(facts.test, by):
        other = others.get(row["config_type"], {})
        worse = [words for name, words in COMPARED.items() if _number(row, name) > _number(other, name)]
        lost += [f"{row['config_type']} ({', '.join(worse)})"] if worse else []
    return lost


def _number(row: Record, name: str) -> float:
    """NaN where there is no value, which is neither larger nor smaller than any."""
    found = row.get(name)
    return float("nan") if found is None else float(found)


def _warnings(facts: CardFacts) -> str:
    off = [
        f"{row['config_type']} ({percent(row['forces_relative'])})"
        for row in getattr(facts.test, facts.test.finest)
        if row["config_type"] != ALL and _number(row, "forces_RMSE_meV_per_A") > SMALL_FORCE_MEV_PER_A
        if _number(row, "forces_relative") > FORCES_OFF
    ]
    lines = [
        "It reproduces its labels with their faults; it is no closer to experiment than they are.",
        "It knows no other elements, and neither charges, magnetism nor electronic temperature.",
    ]
    if off:
        lines.append(f"Force RMSE above {percent(FORCES_OFF, 0)} of the rms force on: {', '.join(off)}.")
    each = "config type" if facts.test.kinds else "group"
    for peer in facts.peers:
        lost = beaten_by(facts, peer)
        lines.append(
            f"{peer} has the smaller error on: {', '.join(lost)}."
            if lost
            else f"It beats {peer} on every {each} of the test frames, in energies and forces."
        )
    return bullets([*lines, *facts.notes])
