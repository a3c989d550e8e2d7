"""What a loop of learning does in each round, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ru_calc.errors import SettingsError, require
from ru_calc.fit.settings import FitSettings, with_changes
from ru_calc.fit.start import settings_of_model
from ru_calc.label import LabelSettings
from ru_calc.sample import MD_KINDS, SampleSettings

# Fine-tuning on few frames: small steps, averaged weights of the last epoch, an error of every frame by folds.
TUNING: dict[str, Any] = {
    "epochs": 80, "rate_embedding": 3e-4, "rate_blocks": 3e-4, "rate_readout": 3e-4, "ema": 0.99, "keep": "last",
    "split": (0.95, 0.05, 0.0), "energy_weight": 4.0, "stress_weight": 0.5, "folds": 5,
}  # fmt: skip


@dataclass(frozen=True)
class LearnSettings:
    """Conditions, labels and fits of all rounds.

    Attributes:
        init_from: name, file or run folder of the model from whose weights every fit starts.
        rounds: of dynamics, labelling and fitting, after the first fit.
        frames: to label in each round, at most.
        kinds: static kinds of `ru-calc sample` → candidates of each round, None for the kind's default.
        md: kinds of runs → candidates of each round.
        temperature_K: lowest and highest temperature of the runs; None takes those of each kind.
        max_atoms: in a frame to label.
        every_fs: between two candidates of a run.
        threshold_eV_per_A: candidates with an atom above it may be labelled; None takes that of the model.
        seed: of everything random.
        label: arguments of `LabelSettings`.
        fit: settings of `ru-calc fit` by name that differ from `TUNING`.

    Raises:
        SettingsError: a value is out of range, or of another kind.
    """

    init_from: str
    rounds: int = 3
    frames: int = 20
    kinds: Mapping[str, int | None] = field(default_factory=dict)
    md: Mapping[str, int | None] = field(default_factory=lambda: dict.fromkeys(MD_KINDS))
    temperature_K: tuple[float, float] | None = None
    max_atoms: int = 12
    every_fs: float = 200.0
    threshold_eV_per_A: float | None = None
    seed: int = 0
    label: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.temperature_K, list):
            object.__setattr__(self, "temperature_K", tuple(self.temperature_K))
        require(self.rounds >= 1, "rounds", self.rounds, "1 or more")
        require(self.frames >= 1, "frames", self.frames, "1 or more")
        if self.threshold_eV_per_A is not None:
            require(self.threshold_eV_per_A >= 0, "threshold_eV_per_A", self.threshold_eV_per_A, "0 or more")
        if not self.md and not self.kinds:
            raise SettingsError("no candidates are asked for: name kinds of runs or static kinds")
        _ = self.labelling
        self.sampling(0)

    @property
    def labelling(self) -> LabelSettings:
        """With what frames are labelled."""
        return LabelSettings(**self.label)

    def sampling(self, number: int) -> SampleSettings:
        """Candidates of a round, counted from 1."""
        return SampleSettings(
            kinds=self.kinds, md=self.md, seed=self.seed + number, max_atoms=self.max_atoms,
            temperature_K=self.temperature_K, every_fs=self.every_fs,
        )  # fmt: skip

    def fitting(self) -> FitSettings:
        """Of every fit; the network is that of the model to start from."""
        return with_changes("md", {**settings_of_model(self.init_from), **TUNING, "seed": self.seed, **self.fit})

    def record(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)
