"""What was taken from files and what was left out, column by column."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ru_calc.dataset.columns import split_family
from ru_calc.dataset.frames import LABELS
from ru_calc.dataset.labels import FrameLabels

MISSING = "missing"
MOST_NAMED = 5


@dataclass
class Account:
    """Counts of frames.

    Attributes:
        taken: of each column of `energy`, `forces` and `stress`, and of `missing`.
        ignored: of each column that looks like a label but was not taken, with that label.
        columns: of all columns of frames without any label, for an error.
        unfit: frames that are no data, each in words.
        no_volume: frames whose stress was left out, as they are not periodic in three directions.
        masked: frames whose forces on fixed atoms are exactly 0.
        families: frames with labels of several families of columns.
        left_out: of each config type that was left out.
        unread: files of folders that were not read.
    """

    taken: dict[str, Counter[str]] = field(default_factory=lambda: {label: Counter() for label in LABELS})
    ignored: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    columns: Counter[str] = field(default_factory=Counter)
    unfit: list[str] = field(default_factory=list)
    no_volume: int = 0
    masked: int = 0
    families: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    unread: list[str] = field(default_factory=list)

    def add(self, labels: FrameLabels, names: Sequence[str]) -> None:
        """Counts a frame with columns of these names."""
        columns = labels.columns
        sources = {**columns, "stress": columns.get("stress", columns.get("virial", MISSING))}
        for label in LABELS:
            self.taken[label][sources.get(label, MISSING)] += 1
        for name, label in labels.ignored.items():
            self.ignored[name, label] += 1
        if "stress" in columns and "virial" in columns:
            self.ignored[columns["virial"], "virial"] += 1
        self.no_volume += labels.no_volume
        self.masked += labels.masked
        self.families += len({split_family(name)[0] for name in columns.values()}) > 1
        if not labels.values:
            self.columns.update(names)

    def lines(self) -> Iterator[str]:
        """The account in words, warnings included."""
        for label in LABELS:
            counts = self.taken[label]
            yield f"{label} taken from: {_counted(counts)}" if set(counts) != {MISSING} else f"{label}: missing"
        for (name, label), count in sorted(self.ignored.items()):
            yield self._ignored(name, label, count)
        yield from self._warnings()
        for config_type, count in self.left_out.items():
            yield f"left out: {count} frames of {config_type}"
        if self.no_volume:
            yield f"stress dropped from {self.no_volume} frames that are not periodic in three directions"
        for line in self.unfit[:MOST_NAMED]:
            yield f"left out: {line}"
        if len(self.unfit) > MOST_NAMED:
            yield f"left out: {len(self.unfit) - MOST_NAMED} more frames for such reasons"
        if self.unread:
            more = f" and {len(self.unread) - MOST_NAMED} more" if len(self.unread) > MOST_NAMED else ""
            yield f"not read: {', '.join(self.unread[:MOST_NAMED])}{more}"

    def _ignored(self, name: str, label: str, count: int) -> str:
        others = [one for one in self.taken["stress" if label == "virial" else label] if one not in (MISSING, name)]
        frames = "1 frame" if count == 1 else f"{count} frames"
        why = f"as {' or '.join(others)} is taken" if others else f"which looks like {label}"
        return f"left out: column {name} of {frames}, {why}; --{label}-key {name} takes it"

    def _warnings(self) -> Iterator[str]:
        for label, counts in self.taken.items():
            several = sorted(name for name in counts if name != MISSING)
            if len(several) > 1:
                hint = "they differ by the electronic entropy" if set(several) == {"energy", "free_energy"} else (
                    "they may be of different levels of theory"
                )  # fmt: skip
                yield f"warning: {' and '.join(several)} are mixed; {hint}: --{label}-key NAME takes one only"
        if self.families:
            yield (
                f"warning: labels of {self.families} frames are of different origin, such as REF_energy beside forces; "
                "if they are of two levels of theory, leave one out (--forces-key none)"
            )
        if self.masked:
            yield (
                f"warning: in {self.masked} frames the forces on all fixed atoms are exactly 0; labels must be raw, "
                "ASE's get_forces(apply_constraint=False): compute them again, or leave them out (--forces-key none)"
            )


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({count} frames)" for name, count in sorted(counts.items()))
