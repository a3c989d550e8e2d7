"""SchNetPack's own SchNet, of the size of one of ours, as its users would build it.

Stock are `NeuralNetworkPotential`, `PairwiseDistances`, `SchNet` over `GaussianRBF` and `CosineCutoff`,
`Atomwise`, `Forces`, `SkinNeighborList` over `MatScipyNeighborList`, and `SpkCalculator`.  Width, blocks, cutoff and
number of Gaussians are those of our model.  The weights are random: time does not depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ru_calc.studies.bench.contestants import SKIN_A

NOTE = "SchNetPack: its own SchNet of the same width, blocks, cutoff and Gaussians, with random weights"


def schnetpack() -> Any:
    """The package.  Its releases up to 2.1 name a type variable that newer torch has renamed."""
    import torch.utils.data.dataloader as dataloader

    renamed = not hasattr(dataloader, "T_co") and hasattr(dataloader, "_T_co")
    if renamed:
        dataloader.T_co = dataloader._T_co  # type: ignore[attr-defined]
    try:
        import schnetpack as package
        import schnetpack.interfaces
    finally:
        if renamed:
            del dataloader.T_co  # type: ignore[attr-defined]
    return package


def potential(model: Mapping[str, Any]) -> nn.Module:
    """A `NeuralNetworkPotential` with `energy` (eV) and `forces` (eV/Å).

    Args:
        model: hyper-parameters of a SchNet of ours.

    Raises:
        ImportError: SchNetPack cannot be imported.
    """
    spk, width, cutoff_A = schnetpack(), model["channels"], model["cutoff_A"]
    basis, fade = spk.nn.GaussianRBF(model["n_radial"], cutoff_A), spk.nn.CosineCutoff(cutoff_A)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return spk.model.NeuralNetworkPotential(
            representation=spk.representation.SchNet(width, model["blocks"], basis, fade, n_filters=width),
            input_modules=[spk.atomistic.PairwiseDistances()],
            output_modules=[
                spk.atomistic.Atomwise(width, output_key="energy"),
                spk.atomistic.Forces(),
            ],
        )


def calculator(network: Any) -> Any:
    """SchNetPack's ASE calculator over a network, in float32, with a neighbor list of 1 Å skin."""
    from schnetpack import interfaces, transform

    class GivenModel(interfaces.SpkCalculator):
        """Takes the module itself: torch no longer unpickles a whole module without being told to."""

        def _load_model(self, model_file: nn.Module) -> nn.Module:
            return model_file

    pairs = transform.MatScipyNeighborList(float(network.representation.cutoff))
    pairs = transform.SkinNeighborList(pairs, cutoff_skin=SKIN_A)
    return GivenModel(network.eval(), pairs, energy_unit="eV", position_unit="Ang", dtype=torch.float32)
