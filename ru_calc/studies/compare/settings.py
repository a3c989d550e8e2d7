"""Settings of the `md` protocol."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ru_calc.dataset import check_fractions
from ru_calc.errors import SettingsError, require
from ru_calc.fit.runs import plain
from ru_calc.potentials import FAMILIES

# All but the network of the paper, which is not a potential.
COMPARED = tuple(name for name, (potential, _) in FAMILIES.items() if potential.conservative)


def check_split(fractions: tuple[float, float, float]) -> None:
    """Refuses a split without validation or test frames.

    Raises:
        SettingsError: it is such a split, or none at all.
    """
    require(min(check_fractions(fractions)) > 0, "split", fractions, "such that it has validation and test frames")


@dataclass(frozen=True)
class MDProtocol:
    """Settings for all families.

    Attributes:
        budget_min: CPU time of each fit in minutes, from which the number of epochs is chosen.
        split: fractions of training, validation and test frames.
        seed: of everything random.
        speed_atoms: sizes of the hcp crystals whose force calls are timed.
        md_atoms: size of the hcp crystal for dynamics; time step 2 fs.
        nve_K, nve_ps: temperature and length of the NVE dynamics.
        hot_K, hot_ps: of the Langevin dynamics that tests stability.
        epochs: of each fit; None takes `budget_min`.
        quick: a test of the whole in under a minute; its figures mean nothing.
    """

    budget_min: float = 30.0
    split: tuple[float, float, float] = (0.8, 0.1, 0.1)
    seed: int = 0
    speed_atoms: tuple[int, ...] = (64, 500)
    md_atoms: int = 64
    nve_K: float = 300.0
    nve_ps: float = 10.0
    hot_K: float = 1500.0
    hot_ps: float = 10.0
    epochs: int | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        for name in ("budget_min", "md_atoms", "nve_K", "nve_ps", "hot_K", "hot_ps"):
            require(getattr(self, name) > 0, name, getattr(self, name), "positive")
        check_split(self.split)

    def record(self) -> dict[str, Any]:
        """What must not change when the comparison is resumed, in plain values."""
        return dict(plain(asdict(self)))


QUICK = MDProtocol(
    split=(0.6, 0.2, 0.2), speed_atoms=(64,), md_atoms=16, nve_ps=0.02, hot_ps=0.02, epochs=1, quick=True
)
QUICK_FRAMES, QUICK_FRAME_ATOMS = 60, 16


def check_families(families: tuple[str, ...], known: tuple[str, ...] = COMPARED) -> tuple[str, ...]:
    """The families to compare.

    Raises:
        SettingsError: one is unknown, or named twice, or there is none.
    """
    for name in families:
        if name not in known:
            raise SettingsError(f"family {name!r} cannot be compared; choose from {', '.join(known)}")
    if len(set(families)) < len(families) or not families:
        raise SettingsError(f"families are {', '.join(families) or 'none'}; name each once")
    return families
