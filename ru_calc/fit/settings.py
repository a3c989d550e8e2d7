"""The settings that determine a fit, with the presets `md` (default) and `paper`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ru_calc.dataset import check_fractions
from ru_calc.errors import SettingsError, choices, require
from ru_calc.fit.runs import changes as record_changes
from ru_calc.potentials import FAMILIES, build_potential
from ru_calc.potentials.values import check_types

BOUNDS = ("batch_frames", "batch_atoms", "batch_pairs")
WEIGHTS = ("energy_weight", "forces_weight", "stress_weight")
CHOICES = {"family": tuple(FAMILIES), "loss": ("relative", "standardised"),
           "keep": ("best", "last"), "dtype": ("float32", "float64")}  # fmt: skip

LEAST = {
    **dict.fromkeys(("epochs", "accumulate", "patience", "open_batches"), 1),
    **dict.fromkeys((*BOUNDS, "seed", "weight_decay", "forces_share", "folds", "fold"), 0), "split_seed": -1,
}  # fmt: skip
# What stored settings mean that are older than one of these.
EARLIER = {
    "batch_pairs": 0, "open_batches": 1, "split_seed": -1, "huber_delta": 2.0, "forces_share": 0.08,
    "passes": (), "own": ("energy",), "keep": "best", "folds": 0, "fold": 0,
}  # fmt: skip


@dataclass(frozen=True)
class FitSettings:
    """All settings that the result of a fit depends on.

    Attributes:
        family, model: the network, and its hyper-parameters that differ from the defaults.
        epochs: passes over the training frames.
        batch_frames, batch_atoms, batch_pairs: bounds of a batch, whichever is reached first; 0 means none.
        open_batches: batches filled side by side; 1 closes a batch at the first frame that does not fit.
        accumulate: batches per optimiser step.
        rate_embedding, rate_blocks, rate_readout: AdamW's learning rate for each part of the network.
        weight_decay: of AdamW, on all weights.
        warmup: fraction of all steps with linearly rising learning rate; then it falls as a cosine.
        final_rate: learning rate at the end, as a fraction of the highest.
        clip_norm: upper bound of the gradient's norm.
        ema: decay per step of the averaged weights, which are validated and stored; 0 stores the weights themselves.
        loss: `relative` or `standardised`, see `losses.py`.
        huber_delta: of the relative loss: errors count linearly beyond this many scales.
        forces_share: of the relative loss: fraction of the force that is added to the scale of its error.
        energy_weight, forces_weight, stress_weight: (start, end) weight of each term, or one number for both; a label
            of weight 0 is not needed.
        ramp: (from, to) fraction of the epochs over which the weights go from start to end.
        patience: epochs without a better validation loss after which the fit stops.
        keep: the epoch whose weights are the result: that with the `best` validation loss, or the `last`.
        split: fractions of training, validation and test frames.
        folds, fold: if `folds` is not 0, the test frames are one of so many folds, counted from 0, and `split` divides
            the others into training and validation frames.
        passes: over the training frames of each level of theory in an epoch, that of the model first, then the others
            in the order of their data sets; empty means 1 for each.
        own: parts of the network that each level of theory has for itself; all others are shared.  Without `energy`,
            the readout, levels can differ by no more than a constant per atom.
        seed: of everything random.
        split_seed: seed of the split; −1 means `seed`.
        dtype: `float32` or `float64`.
    """

    preset: str = "md"
    family: str = "schnet"
    model: dict[str, Any] = field(default_factory=dict)
    epochs: int = 160
    batch_frames: int = 0
    batch_atoms: int = 0
    batch_pairs: int = 780
    open_batches: int = 16
    accumulate: int = 1
    rate_embedding: float = 1e-3
    rate_blocks: float = 1e-3
    rate_readout: float = 1e-3
    weight_decay: float = 3e-3
    warmup: float = 0.03
    final_rate: float = 0.005
    clip_norm: float = 10.0
    ema: float = 0.999
    loss: str = "relative"
    huber_delta: float = 5.0
    forces_share: float = 0.03
    energy_weight: tuple[float, float] = (0.05, 4.0)
    forces_weight: tuple[float, float] = (3.0, 3.0)
    stress_weight: tuple[float, float] = (0.3, 0.5)
    ramp: tuple[float, float] = (0.2, 0.9)
    patience: int = 160
    keep: str = "best"
    split: tuple[float, float, float] = (0.6, 0.2, 0.2)
    folds: int = 0
    fold: int = 0
    passes: tuple[float, ...] = ()
    own: tuple[str, ...] = ("energy",)
    seed: int = 0
    split_seed: int = -1
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for name in (*WEIGHTS, "ramp", "split", "passes"):
            object.__setattr__(self, name, tuple(float(x) for x in getattr(self, name)))
        object.__setattr__(self, "own", tuple(self.own))
        require(all(count > 0 for count in self.passes), "passes", self.passes, "positive for each level of theory")
        for name, allowed in CHOICES.items():
            require(getattr(self, name) in allowed, name, repr(getattr(self, name)), f"one of {', '.join(allowed)}")
        for name, least in LEAST.items():
            require(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        for name in ("rate_embedding", "rate_blocks", "rate_readout", "clip_norm", "huber_delta"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        for name in ("ema", "warmup"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "at least 0 and below 1")
        require(0 <= self.final_rate <= 1, "final_rate", self.final_rate, "a fraction of the highest rate, 0 to 1")
        require(0 <= self.ramp[0] <= self.ramp[1], "ramp", self.ramp, "two fractions of the epochs, the smaller first")
        for name in WEIGHTS:
            require(min(getattr(self, name)) >= 0, name, getattr(self, name), "at least 0 at start and end")
        require(check_fractions(self.split)[1] > 0, "split", self.split, "such that it has validation frames")
        require(self.folds != 1, "folds", self.folds, "0 (none) or at least 2")
        require(self.fold < max(self.folds, 1), "fold", self.fold, f"less than folds ({self.folds})")
        if not any(getattr(self, name) for name in BOUNDS):
            raise SettingsError(f"{', '.join(BOUNDS)} are all 0; one of them must bound a batch")
        if not any(self.weights(1.0).values()):
            raise SettingsError(f"the last values of {', '.join(WEIGHTS)} are all 0; one of them must be positive")

    @property
    def seed_of_split(self) -> int:
        """Seed of the split."""
        return self.seed if self.split_seed < 0 else self.split_seed

    @property
    def labels(self) -> list[str]:
        """The labels that the loss needs."""
        return [name for name in ("energy", "forces", "stress") if any(getattr(self, f"{name}_weight"))]

    def weights(self, progress: float) -> dict[str, float]:
        """Weight of each term after a fraction `progress` of the epochs."""
        start, stop = self.ramp
        x = min(max((progress - start) / max(stop - start, 1e-9), 0.0), 1.0)
        return {
            name: (1 - x) * getattr(self, f"{name}_weight")[0] + x * getattr(self, f"{name}_weight")[1]
            for name in ("energy", "forces", "stress")
        }


PAPER = FitSettings(
    preset="paper", family="paper", epochs=100, batch_frames=2048, batch_pairs=0, open_batches=1,
    accumulate=24, rate_embedding=1e-5, rate_blocks=2e-5, rate_readout=5e-5, weight_decay=1e-4, warmup=0.2,
    final_rate=0.0, clip_norm=0.01, ema=0.0, loss="standardised", energy_weight=(1.0, 0.75), forces_weight=(0.0, 0.5),
    stress_weight=(0.0, 0.0), ramp=(0.5, 1.0), patience=100,
)  # fmt: skip
PRESETS = {"md": FitSettings(), "paper": PAPER}


def with_changes(preset: str, changes: dict[str, Any]) -> FitSettings:
    """A preset with changes by name; `model.NAME` is a hyper-parameter of the network.

    If one bound of a batch is given, the others become 0.  A weight of the loss may be one number for start and end.

    Raises:
        SettingsError: an unknown preset or name, or a value of the wrong type or out of range.
    """
    if preset not in PRESETS:
        raise SettingsError(f"preset is {preset!r}; choose one of {', '.join(PRESETS)}")
    known = {f.name for f in fields(FitSettings)} - {"preset", "model"}
    own = {name: value for name, value in changes.items() if not name.startswith("model.")}
    own |= {name: [own[name]] * 2 for name in WEIGHTS if isinstance(own.get(name), int | float)}
    model = {name[6:]: value for name, value in changes.items() if name.startswith("model.")}
    unknown = sorted(set(own) - known)
    if unknown:
        raise SettingsError(f"there is no setting {unknown[0]!r}; {choices(unknown[0], known)}, model.NAME")
    check_types(FitSettings, own)
    family = FAMILIES.get(own.get("family", PRESETS[preset].family))
    brought = family[0].fit_settings if family and preset == "md" else {}
    bounds = dict.fromkeys(BOUNDS, 0) if own.keys() & set(BOUNDS) else {}
    settings = replace(PRESETS[preset], **{**brought, **bounds, **own})
    network = FAMILIES[settings.family][1]
    hyperparameters = {f.name for f in fields(network)}
    unknown = sorted(set(model) - hyperparameters)
    if unknown:
        raise SettingsError(
            f"family {settings.family!r} has no hyper-parameter {unknown[0]!r}; {choices(unknown[0], hyperparameters)}"
        )
    check_types(network, model, "model.")
    resolved = build_potential(settings.family, {**settings.model, **model}).hyperparameters()
    return replace(settings, model=resolved)


def with_changes_to(earlier: dict[str, Any], preset: str | None, changes: dict[str, Any]) -> FitSettings:
    """Stored settings of a fit with changes; see `with_changes`.

    Args:
        preset: its name only, without its other settings; None keeps it.
        changes: by name; another `family` brings its own hyper-parameters.
    """
    before = _flat(earlier)
    kept = before.pop("preset", FitSettings.preset)
    family = before.get("family", FitSettings.family)
    if changes.get("family", family) != family:
        before = {name: value for name, value in before.items() if not name.startswith("model.")}
    return with_changes(preset or kept, before | changes)


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    model = {f"model.{name}": value for name, value in settings.get("model", {}).items()}
    return {**EARLIER, **{k: v for k, v in settings.items() if k != "model"}, **model}


def differences(old: dict[str, Any], new: FitSettings) -> list[str]:
    """What differs between two settings, as `name: old → new`."""
    return record_changes(_flat(old), _flat(asdict(new)))
