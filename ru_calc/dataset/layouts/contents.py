"""What a file holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from ase import Atoms


@dataclass(frozen=True)
class Contents:
    """The frames of a file.

    Attributes:
        frames: all of them.
        unfit: why a frame, by its index, is no data, though it may be a structure.
        numbers: index of each frame in the file, which messages name.
    """

    frames: list[Atoms]
    unfit: dict[int, str] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.numbers) != len(self.frames):
            self.numbers[:] = range(len(self.frames))

    def part(self, index: slice) -> Contents:
        """Some of the frames."""
        kept = range(len(self.frames))[index]
        unfit = {new: self.unfit[old] for new, old in enumerate(kept) if old in self.unfit}
        return Contents([self.frames[k] for k in kept], unfit, [self.numbers[k] for k in kept])
