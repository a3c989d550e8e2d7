"""Principal components of descriptors and forces, and energies per atom, standardised by the training set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.errors import DataError
from ru_calc.studies.paper.settings import PaperProtocol


@dataclass(frozen=True)
class PrincipalAxes:
    """x → (x − mean) · axes / spreads: uncorrelated, with mean 0 and variance 1 over the rows used to find the axes.

    Attributes:
        mean: (d,).
        axes: (k, d) unit vectors by decreasing variance, the largest entry of each positive.
        spreads: (k,) standard deviations along them.
        shares: (d,) fraction of the variance along each of all axes.
    """

    mean: np.ndarray
    axes: np.ndarray
    spreads: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, variance: float, least: int = 1) -> PrincipalAxes:
        """The first axes that together keep the fraction `variance`, but at least `least`.

        Args:
            values: (m, d), m > 1.

        Raises:
            DataError: there are fewer than two rows, or all are equal.
        """
        values = np.asarray(values, dtype=float)
        covariance = np.atleast_2d(np.cov(values.T)) if len(values) > 1 else np.zeros((1, 1))
        if not np.trace(covariance) > 0:
            raise DataError("descriptors or forces do not vary over the training frames; give more frames")
        variances, axes = np.linalg.eigh(covariance)
        variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1].T
        shares = variances / variances.sum()
        kept = max(int(np.searchsorted(np.cumsum(shares), variance - 1e-12)) + 1, least)
        kept = min(kept, int((shares > 1e-12).sum()))
        leading = axes[:kept]
        signs = np.sign(leading[np.arange(kept), np.abs(leading).argmax(axis=1)])
        return cls(values.mean(axis=0), leading * signs[:, None], np.sqrt(variances[:kept]), shares)

    def __len__(self) -> int:
        return len(self.axes)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(m, k) from (m, d)."""
        return (np.asarray(values, dtype=float) - self.mean) @ self.axes.T / self.spreads


@dataclass(frozen=True)
class Scales:
    """From descriptors to inputs, and from labels to targets.

    Attributes:
        descriptors, forces: their principal axes; forces in eV/Å.
        energy_mean_eV, energy_spread_eV: of the energy per atom, over atoms.
    """

    descriptors: PrincipalAxes
    forces: PrincipalAxes
    energy_mean_eV: float
    energy_spread_eV: float

    @classmethod
    def of(cls, train: Dataset, vectors: np.ndarray, protocol: PaperProtocol) -> Scales:
        """The scales of the training frames and of their SOAP vectors (n_atoms, d).

        Raises:
            DataError: something does not vary.
        """
        energies = energies_per_atom(train)
        if not energies.std() > 0:
            raise DataError("the energy per atom is the same in all training frames; give more frames")
        return cls(
            PrincipalAxes.of(vectors, protocol.variance, protocol.least_inputs),
            PrincipalAxes.of(train.forces, protocol.variance),
            float(energies.mean()),
            float(energies.std(ddof=1)),
        )

    def targets(self, dataset: Dataset) -> np.ndarray:
        """(n_atoms, 1 + k): the frame's energy per atom, then the components of the force on the atom."""
        energies = (energies_per_atom(dataset) - self.energy_mean_eV) / self.energy_spread_eV
        return np.column_stack([energies, self.forces(dataset.forces)])


def energies_per_atom(dataset: Dataset) -> np.ndarray:
    """(n_atoms,) eV: each atom has its frame's energy per atom."""
    counts = dataset.structures.counts
    return np.repeat(dataset.energy / counts, counts)
