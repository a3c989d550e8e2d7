"""Running errors of an epoch, in the units of its log."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ru_calc.evaluate.metrics import SCALES
from ru_calc.fit.batches import Targets
from ru_calc.fit.team import Team
from ru_calc.predictor import Prediction


@dataclass
class ErrorSums:
    """Sums of absolute errors over the labels present."""

    totals: dict[str, list[float]] = field(default_factory=dict)

    def add(self, prediction: Prediction, targets: Targets) -> None:
        """Adds one batch."""
        self._add("energy", prediction.energy / targets.counts, targets.energy / targets.counts)
        if prediction.forces is not None:
            self._add("forces", prediction.forces, targets.forces)
        if prediction.stress is not None:
            self._add("stress", prediction.stress, targets.stress)

    def _add(self, name: str, predicted: Tensor, label: Tensor) -> None:
        error = (predicted.detach() - label).double()[label.isfinite()]
        sums = self.totals.setdefault(name, [0.0, 0.0])
        sums[0] += float(error.abs().sum())
        sums[1] += error.numel()

    def over(self, team: Team) -> ErrorSums:
        """The sums over all processes."""
        names = list(SCALES)
        flat = team.totals([value for name in names for value in self.totals.get(name, (0.0, 0.0))])
        return ErrorSums({name: flat[2 * k : 2 * k + 2] for k, name in enumerate(names)})

    def errors(self, prefix: str = "") -> dict[str, float]:
        """Mean absolute errors as `<prefix>energy_meV_per_atom`, … (only those with labels)."""
        return {
            f"{prefix}{name}_{SCALES[name].unit}": SCALES[name].factor * total / count
            for name, (total, count) in self.totals.items()
            if count
        }
