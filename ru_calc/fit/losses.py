"""The loss: errors of energy per atom, forces and stress, each on its own scale.

`relative`: Huber loss (δ is `huber_delta`, q `forces_share` of the settings) of

    ΔE / (6 meV + 5 % of |E − E_min|) per atom,   ΔF / (80 meV/Å + q |F|),   Δσ / (0.5 GPa + 5 % of max |σ|)

so that frames near equilibrium count although labels span several decades; E_min is the lowest energy per atom of the
training frames.  `standardised`: squared errors over the variance of the training labels, as in the starting paper.
Missing labels are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable

from ru_calc.dataset import Dataset
from ru_calc.fit.batches import Targets
from ru_calc.fit.settings import FitSettings
from ru_calc.predictor import Prediction
from ru_calc.units import EV_PER_A3_IN_GPA

ENERGY_SCALE_EV, ENERGY_SHARE = 0.006, 0.05
FORCE_SCALE_EV_PER_A = 0.08
STRESS_SCALE_GPA, STRESS_SHARE = 0.5, 0.05


@dataclass(frozen=True)
class LabelStatistics:
    """Of the training labels: minimum and standard deviation of the energy per atom (eV), rms force, rms stress."""

    energy_min_eV: float
    energy_std_eV: float
    forces_rms_eV_per_A: float
    stress_rms_eV_per_A3: float

    @classmethod
    def of(cls, dataset: Dataset) -> LabelStatistics:
        """Statistics of all labels present; scales are 1 where there are none."""
        per_atom = (dataset.energy / dataset.structures.counts)[dataset.has("energy")]

        def rms(values: np.ndarray) -> float:
            values = values[np.isfinite(values)]
            return float(np.sqrt(np.mean(values**2))) or 1.0 if len(values) else 1.0

        return cls(
            energy_min_eV=float(per_atom.min()) if len(per_atom) else 0.0,
            energy_std_eV=rms(per_atom - per_atom.mean()) if len(per_atom) else 1.0,
            forces_rms_eV_per_A=rms(dataset.forces),
            stress_rms_eV_per_A3=rms(dataset.stress),
        )


def label_weights(targets: Targets) -> dict[str, Tensor]:
    """What the mean of each term is divided by: the weights of all labels present."""
    found = {
        "energy": (targets.energy[:, None], targets.weight), "stress": (targets.stress, targets.weight),
        "forces": (targets.forces, targets.weight[targets.atom_frames]),
    }  # fmt: skip
    return {name: (torch.isfinite(label) * weight[:, None]).sum() for name, (label, weight) in found.items()}


def loss_terms(
    settings: FitSettings,
    prediction: Prediction,
    targets: Targets,
    statistics: LabelStatistics,
    whole: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Mean loss of `energy`, `forces` and `stress` over a batch; terms that were not predicted are left out.

    Args:
        whole: `label_weights` of the batch of which these frames are a part; the terms of all parts then add up to its
            mean.
    """
    terms, relative, whole = {}, settings.loss == "relative", whole or {}
    delta = settings.huber_delta if relative else math.inf
    energy_error = ((prediction.energy - targets.energy) / targets.counts).to(targets.weight.dtype)
    if relative:
        per_atom = (targets.energy.nan_to_num() / targets.counts).to(targets.weight.dtype)
        height = (per_atom - statistics.energy_min_eV).abs()
        energy_error = energy_error / (ENERGY_SCALE_EV + ENERGY_SHARE * height)
    else:
        energy_error = energy_error / statistics.energy_std_eV
    terms["energy"] = _measure(
        delta, energy_error[:, None], targets.energy[:, None], targets.weight, whole.get("energy")
    )
    if prediction.forces is not None:
        scale: Tensor | float = statistics.forces_rms_eV_per_A
        if relative:
            scale = FORCE_SCALE_EV_PER_A + settings.forces_share * targets.forces.nan_to_num().norm(dim=1, keepdim=True)
        error = (prediction.forces - targets.forces) / scale
        terms["forces"] = _measure(
            delta, error, targets.forces, targets.weight[targets.atom_frames], whole.get("forces")
        )
    if prediction.stress is not None:
        scale = statistics.stress_rms_eV_per_A3
        if relative:
            largest = targets.stress.nan_to_num().abs().amax(dim=1, keepdim=True)
            scale = STRESS_SCALE_GPA / EV_PER_A3_IN_GPA + STRESS_SHARE * largest
        error = (prediction.stress - targets.stress) / scale
        terms["stress"] = _measure(delta, error, targets.stress, targets.weight, whole.get("stress"))
    return terms


def _measure(delta: float, error: Tensor, label: Tensor, weight: Tensor, whole: Tensor | None) -> Tensor:
    # Masked by the labels, not by the errors: a prediction that is not finite must show.
    return MeanMeasure.apply(delta, error, torch.isfinite(label), weight, whole)


class MeanMeasure(Function):
    """Weighted mean over the labelled entries of the Huber loss (δ = `delta`), or of squares for δ = ∞.

    Takes errors (m, c), whether each is labelled (m, c), weights (m,), and what to divide by instead of the weights'
    sum.  Entries without label have no gradient; a
    labelled entry whose error is not finite makes the mean not finite.
    """

    @staticmethod
    def forward(ctx, delta: float, error, labelled, weight, whole=None):
        present = labelled * weight[:, None]
        error = torch.where(labelled, error, 0.0)
        bent = error.clamp(-delta, delta)
        share = present / (present.sum() if whole is None else whole).clamp_min(1e-12)
        slope = bent * share
        factor = 1.0 if math.isfinite(delta) else 2.0
        ctx.save_for_backward(slope.mul(factor))
        return factor * torch.sum(slope * (error - 0.5 * bent))

    @staticmethod
    @once_differentiable
    def backward(ctx, bar):
        (slope,) = ctx.saved_tensors
        return None, bar * slope, None, None, None
