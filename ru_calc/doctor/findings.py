"""What was found in a data set, and what could not be decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ru_calc.dataset import Dataset

SEVERITIES = ("error", "warning", "note")
TYPES_SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        severity: one of `SEVERITIES`; an error means that a fit would learn nonsense.
        rule: short name of what was checked, such as `stress-scale`.
        text: what was seen, with its figure, and what is right.
        frames: indices of the frames.
        mend: option of `ru-calc convert`, or another way out.
        figure: the number in the text, if there is one.
    """

    severity: str
    rule: str
    text: str
    frames: tuple[int, ...]
    mend: str
    figure: float | None = None

    def line(self, dataset: Dataset) -> str:
        """The finding in one line."""
        return f"{self.severity}: {self.text} ({named(dataset, self.frames)}); {self.mend}"


@dataclass(frozen=True)
class Report:
    """The result of an examination.

    Attributes:
        dataset: that was examined.
        findings: errors first.
        undecided: what the data do not suffice to tell, one sentence each.
        examined: number of frames that were looked at.
    """

    dataset: Dataset
    findings: tuple[Finding, ...]
    undecided: tuple[str, ...]
    examined: int

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "error"]

    def lines(self) -> list[str]:
        """All findings, one per line, and what could not be decided."""
        return [finding.line(self.dataset) for finding in self.findings] + [
            f"not decided: {sentence}" for sentence in self.undecided
        ]

    def record(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        findings = [
            {
                "severity": found.severity, "rule": found.rule, "text": found.text, "figure": found.figure,
                "mend": found.mend, "frames": list(found.frames),
                "config_types": sorted({str(self.dataset.config_type[k]) for k in found.frames}),
            }
            for found in self.findings
        ]  # fmt: skip
        return {
            "frames": len(self.dataset), "examined": self.examined, "findings": findings,
            "undecided": list(self.undecided),
        }  # fmt: skip


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings, then notes; otherwise as given."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def named(dataset: Dataset, frames: Sequence[int]) -> str:
    """Some frames in few words: their number, the first ones, and their types."""
    total = len(dataset)
    if len(frames) == total:
        return f"all {total} frames" if total > 1 else "the only frame"
    kinds = list(dict.fromkeys(str(dataset.config_type[k]) for k in frames))
    shown = ", ".join(kinds[:TYPES_SHOWN]) + (" …" if len(kinds) > TYPES_SHOWN else "")
    word = "frame" if len(frames) == 1 else f"{len(frames)} of {total} frames:"
    return f"{word} {ranges(frames)} of type {shown}"


def ranges(frames: Sequence[int], shown: int = 4) -> str:
    """Indices as `0–4, 7 …`."""
    numbers = np.unique(np.asarray(frames, dtype=int))
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    words = [f"{run[0]}–{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs[:shown]]
    return ", ".join(words) + (" …" if len(runs) > shown else "")
