"""Settings of the `paper` protocol, and the results of the paper."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ru_calc.errors import require
from ru_calc.fit.runs import plain
from ru_calc.studies.compare.settings import check_families, check_split

SPLITS = ("train", "validation", "test")
# Table 1 of the paper: MAE, then MSE, each of training, validation and test; units are not stated.
TABLE_1 = {
    "KAN": ((0.36, 0.30, 0.31), (0.79, 0.50, 0.49)),
    "SchNet": ((0.46, 0.38, 0.41), (0.88, 0.55, 0.59)),
    "ANI": ((0.79, 0.77, 0.79), (1.01, 0.93, 0.97)),
    "GNN": ((0.15, 0.13, 0.22), (0.11, 0.04, 0.50)),
    "CalHousNet": ((0.34, 0.27, 0.29), (0.76, 0.34, 0.51)),
}
STEPWISE = "SchNet-stepwise"
PAPER_SHARES = {"descriptors": (0.805, 0.122, 0.049), "forces": (0.666, 0.288)}
QUICK_EPOCHS, QUICK_BATCH_ATOMS, QUICK_ACCUMULATE = 3, 48, 2


@dataclass(frozen=True)
class SoapSettings:
    """Descriptors after A. P. Bartók, R. Kondor, G. Csányi, Phys. Rev. B 87, 184115 (2013), as DScribe computes them.

    Attributes:
        r_cut_A: range in Å.
        n_max, l_max: radial functions (Gaussian type orbitals), and highest degree of the spherical harmonics.
        sigma_A: width of the Gaussian at each atom, Å.
    """

    r_cut_A: float = 5.0
    n_max: int = 8
    l_max: int = 6
    sigma_A: float = 0.5


@dataclass(frozen=True)
class PaperProtocol:
    """Settings of the pipeline; the defaults are those of the paper where it states them.

    Attributes:
        families: rows of the table, in upper or lower case: those of `TABLE_1`, and `SchNet-stepwise`, which is SchNet
            with an optimiser step after every batch, as small data sets give few steps otherwise.
        epochs: their largest number.
        patience: epochs without a better validation loss after which all but SchNet stop.
        batch_atoms: atoms per batch.
        accumulate: batches per optimiser step of SchNet; there is at least one step per epoch.
        variance: fraction of the variance that the principal components keep.
        least_inputs: smallest number of principal components of the descriptors.
        cutoff_A: range of the edges of SchNet's and the GNN's graphs, Å.
        soap: the descriptors.
        split: fractions of training, validation and test frames.
        seed: of everything random.
        quick: a test of the whole with some 60 small frames and 3 epochs; its figures mean nothing.
    """

    families: tuple[str, ...] = tuple(TABLE_1)
    epochs: int = 100
    patience: int = 20
    batch_atoms: int = 2048
    accumulate: int = 24
    variance: float = 0.95
    least_inputs: int = 3
    cutoff_A: float = 5.0
    soap: SoapSettings = field(default_factory=SoapSettings)
    split: tuple[float, float, float] = (0.6, 0.2, 0.2)
    seed: int = 0
    quick: bool = False

    def __post_init__(self) -> None:
        names = {name.lower(): name for name in (*TABLE_1, STEPWISE)}
        object.__setattr__(self, "families", tuple(names.get(name.lower(), name) for name in self.families))
        object.__setattr__(self, "split", tuple(float(share) for share in self.split))
        check_families(self.families, (*TABLE_1, STEPWISE))
        for name in ("epochs", "patience", "batch_atoms", "accumulate", "least_inputs"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 < self.variance <= 1, "variance", self.variance, "above 0 and at most 1")
        require(self.cutoff_A > 0, "cutoff_A", self.cutoff_A, "positive")
        check_split(self.split)

    @property
    def lengths(self) -> tuple[int, int, int]:
        """Epochs, atoms per batch and batches per step, reduced if `quick`."""
        if not self.quick:
            return self.epochs, self.batch_atoms, self.accumulate
        return min(self.epochs, QUICK_EPOCHS), QUICK_BATCH_ATOMS, QUICK_ACCUMULATE

    def record(self) -> dict[str, Any]:
        """What must not change when the comparison is resumed, in plain values; rows may be added."""
        return {name: value for name, value in plain(asdict(self)).items() if name != "families"}
