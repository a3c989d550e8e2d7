"""A plain SchNet of this package as a model of SchNetPack 2: the same function, made of SchNetPack's own modules.

What is stock: `NeuralNetworkPotential` with `PairwiseDistances`, `SchNet` and its `SchNetInteraction` blocks,
`GaussianRBF` (our centres and widths are those it makes from `start` and `cutoff`), `Atomwise` as the energy pathway,
`ZBLRepulsionEnergy` as the core, `Aggregation`, `Forces`; `SkinNeighborList` over `MatScipyNeighborList`; and
`SpkCalculator`.  Every weight is copied; nothing is fitted.

What is set differently, through the arguments or attributes that SchNetPack leaves open:
- the activation is SiLU, and that of each block's first output layer is LayerNorm, then SiLU;
- the hidden layer of a filter network may have another width than its output (`Dense` layers all the same);
- `cutoff_fn` of the network is our envelope, that of the core our fade: no stock function has their form;
- the constant E_atom − ε(x_lone) of each atom sits in the bias of the last layer;
- weights need no gradient, and the calculator is given the module, where stock reads a pickle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor, nn

from ru_calc.errors import ModelError
from ru_calc.modelfiles import open_model
from ru_calc.modelfiles.read import read_model_file
from ru_calc.structures.build import build_structure
from ru_calc.studies.bench.contestants import SKIN_A, Contestant
from ru_calc.tables.constants import NORM_EPS, ZBL_DECAYS, ZBL_POWER, ZBL_PREFACTOR, ZBL_STRENGTHS
from ru_calc.tables.smooth import smooth_step
from ru_calc.units import BOHR_A, COULOMB_EV_A, RUTHENIUM

TOLERANCES = {"float64": (1e-6, 1e-5), "float32": (1e-5, 1e-4)}  # of energies, of forces


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


class Fade(nn.Module):
    """1 up to `inner_A`, 0 from `outer_A`, `smooth_step` between: a cutoff function as SchNetPack calls one."""

    def __init__(self, inner_A: float, outer_A: float) -> None:
        super().__init__()
        self.inner_A, self.cutoff = inner_A, outer_A

    def forward(self, distances: Tensor) -> Tensor:
        return smooth_step((distances - self.inner_A) / (self.cutoff - self.inner_A))


def converted(model: str) -> nn.Module:
    """The model as a `NeuralNetworkPotential` in float64, which gives `energy` (eV) and `forces` (eV/Å).

    Raises:
        ImportError: SchNetPack is not there.
        ModelError: no such model, or not a SchNet without angular embedding.
    """
    file = read_model_file(model)
    settings, weights = file.header["hyperparameters"], file.weights
    if file.header["family"] != "schnet" or settings["angular"]:
        raise ModelError(f"model {model} is not a SchNet without angular embedding; SchNetPack cannot represent it")
    spk = schnetpack()
    with torch.random.fork_rng(devices=[]):  # modules draw first weights
        network, readout = _network(spk, settings), _readout(spk, settings)
        core = _core(spk, settings)
    _copy_weights(network, readout, weights)
    with torch.no_grad():
        readout.outnet[-1].bias += settings["atom_energy_eV"] - _lone_energy(network, readout)
    potential = spk.model.NeuralNetworkPotential(
        representation=network,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[readout, core, spk.atomistic.Aggregation(["network", "core"], "energy"),
                        spk.atomistic.Forces()],
        input_dtype_str="float64",
    )  # fmt: skip
    return potential.double().requires_grad_(False).eval()


def _network(spk: Any, settings: Mapping[str, Any]) -> nn.Module:
    channels, hidden, cutoff_A = settings["channels"], settings["filter_hidden"], settings["cutoff_A"]
    basis = spk.nn.GaussianRBF(settings["n_radial"], cutoff=cutoff_A, start=settings["core_inner_A"])
    network = spk.representation.SchNet(
        channels, settings["blocks"], basis, Fade(cutoff_A - settings["switch_A"], cutoff_A), activation=nn.SiLU()
    ).double()
    # The same numbers as in float32, without its rounding.
    offsets = torch.linspace(settings["core_inner_A"], cutoff_A, settings["n_radial"], dtype=torch.float64)
    basis.offsets, basis.widths = offsets, (offsets[1] - offsets[0]).expand(len(offsets)).clone()
    for block in network.interactions:
        if hidden != channels:
            dense = spk.nn.Dense
            layers = dense(settings["n_radial"], hidden, activation=nn.SiLU()), dense(hidden, channels)
            block.filter_network = nn.Sequential(*layers)
        if settings["layer_norm"]:
            block.f2out[0].activation = nn.Sequential(nn.LayerNorm(channels, eps=NORM_EPS), nn.SiLU())
    return network.double()


def _readout(spk: Any, settings: Mapping[str, Any]) -> Any:
    widths = [*settings["readout"]]
    return spk.atomistic.Atomwise(
        settings["channels"], n_hidden=widths, n_layers=len(widths) + 1, activation=nn.SiLU(), output_key="network"
    ).double()


def _core(spk: Any, settings: Mapping[str, Any]) -> nn.Module:
    fade = Fade(settings["core_inner_A"], settings["core_outer_A"])
    core = spk.atomistic.ZBLRepulsionEnergy("eV", "Ang", "core", trainable=False, cutoff_fn=fade).double()
    core.ke = torch.tensor(COULOMB_EV_A, dtype=torch.float64)
    exact = {
        "a_pow": [ZBL_POWER], "a_div": [1.0 / (ZBL_PREFACTOR * BOHR_A)], "exponents": ZBL_DECAYS,
        "coefficients": ZBL_STRENGTHS,
    }  # fmt: skip
    for name, values in exact.items():
        getattr(core, name).data = torch.tensor(values, dtype=torch.float64).expm1().log()  # inverse of softplus
    return core


def _copy_weights(network: Any, readout: Any, weights: Mapping[str, np.ndarray]) -> None:
    def fill(parameter: Tensor, name: str) -> None:
        values = torch.from_numpy(weights[name].copy())
        if parameter.shape != values.shape:
            raise ModelError(f"{name} has shape {tuple(values.shape)}, and SchNetPack's has {tuple(parameter.shape)}")
        parameter.copy_(values)

    with torch.no_grad():
        fill(network.embedding.weight[RUTHENIUM : RUTHENIUM + 1], "embedding.weight")
        for b, block in enumerate(network.interactions):
            fill(block.in2f.weight, f"blocks.{b}.incoming.weight")
            layers = {"filter.0": block.filter_network[0], "filter.2": block.filter_network[1],
                      "dense1": block.f2out[0], "dense2": block.f2out[1]}  # fmt: skip
            if f"blocks.{b}.norm.weight" in weights:
                layers["norm"] = block.f2out[0].activation[0]
            for name, layer in layers.items():
                fill(layer.weight, f"blocks.{b}.{name}.weight")
                fill(layer.bias, f"blocks.{b}.{name}.bias")
        for k, layer in enumerate(readout.outnet):
            fill(layer.weight, f"energy.{2 * k}.weight")
            fill(layer.bias, f"energy.{2 * k}.bias")


def _lone_energy(network: Any, readout: Any) -> Tensor:
    from schnetpack import properties

    none = torch.zeros(0, dtype=torch.int64)
    alone = {properties.Z: torch.tensor([RUTHENIUM]), properties.Rij: torch.zeros(0, 3, dtype=torch.float64),
             properties.idx_i: none, properties.idx_j: none}  # fmt: skip
    return readout.outnet(network(alone)["scalar_representation"]).squeeze()


def calculator(network: Any, dtype: str) -> Any:
    """SchNetPack's ASE calculator over a copy of the converted model, with a neighbour list of 1 Å skin."""
    import copy

    from schnetpack import interfaces, transform

    class GivenModel(interfaces.SpkCalculator):
        """Takes the module itself: torch no longer unpickles a whole module without being told to."""

        def _load_model(self, model_file: nn.Module) -> nn.Module:
            return model_file

    wide = transform.SkinNeighborList(transform.MatScipyNeighborList(network.representation.cutoff), cutoff_skin=SKIN_A)
    kind = getattr(torch, dtype)
    return GivenModel(copy.deepcopy(network), wide, energy_unit="eV", position_unit="Ang", dtype=kind)


class NetworkCalls(Contestant):
    """Energies and forces from the network alone: its inputs, neighbours included, are ready tensors."""

    def __init__(self, name: str, network: nn.Module) -> None:
        self.name, self._network = name, network

    def prepare(self, atoms: Atoms) -> None:
        made = calculator(self._network, "float32")
        self._model, self._inputs = made.model, made.converter(atoms.copy())

    def run(self, calls: int) -> None:
        for _ in range(calls):
            self._model(dict(self._inputs))

    def clear(self) -> None:
        del self._model, self._inputs


@dataclass(frozen=True)
class Agreement:
    """Largest differences from the reference, over a few structures.

    Attributes:
        energy: |ΔE| / |E| in float64.
        forces: largest |ΔF| over the rms force, in float64.
        energy_float32, forces_float32: the same of the float32 model that is timed.
    """

    model: str
    version: str
    energy: float
    forces: float
    energy_float32: float
    forces_float32: float

    def __str__(self) -> str:
        return (
            f"SchNetPack {self.version} with the weights of {self.model} gives the energies of the reference within "
            f"{self.energy:.0e} and its forces within {self.forces:.0e} (relative, float64; in float32, as timed, "
            f"{self.energy_float32:.0e} and {self.forces_float32:.0e})"
        )


def check_conversion(network: nn.Module, model: str) -> Agreement:
    """Holds the converted model against the reference in float64, through SchNetPack's ASE calculator.

    Raises:
        ModelError: energies differ by more than 1e-6 of the energy, or forces by more than 1e-5 of the rms force; of
            the float32 model, by ten times that.
    """
    truth = open_model(model, "float64", "cpu", engine="reference").predictor
    found = {}
    for dtype, allowed in TOLERANCES.items():
        found[dtype] = energy, forces = _differences(network, truth, dtype)
        if not (energy < allowed[0] and forces < allowed[1]):
            raise ModelError(
                f"SchNetPack with the weights of {model} is another function: in {dtype} energies differ by "
                f"{energy:.1e} ({allowed[0]:g} is allowed), forces by {forces:.1e} ({allowed[1]:g}); leave it out of "
                "--peers"
            )
    return Agreement(model, version("schnetpack"), *found["float64"], *found["float32"])


def _differences(network: nn.Module, truth: Any, dtype: str) -> tuple[float, float]:
    largest = np.zeros(2)
    for atoms in check_structures():
        expected = truth.predict([atoms], None, ("energy", "forces"))
        atoms.calc = calculator(network, dtype)
        scale = np.sqrt((expected.forces**2).sum(axis=1).mean())
        energy = abs(atoms.get_potential_energy() - expected.energy[0]) / abs(expected.energy[0])
        forces = np.linalg.norm(atoms.get_forces() - expected.forces, axis=1).max() / scale
        largest = np.maximum(largest, (energy, forces))
    return float(largest[0]), float(largest[1])


def check_structures() -> Sequence[Atoms]:
    """Rattled hcp and fcc, and hcp with two atoms so close that the core acts."""
    frames = [build_structure("hcp", n_atoms=64), build_structure("fcc", n_atoms=32, a_A=3.7)]
    for atoms in frames:
        atoms.rattle(0.1, seed=1)
    close = frames[0].copy()
    vector = close.get_distance(0, 1, mic=True, vector=True)
    close.positions[1] -= vector * (1.0 - 1.3 / np.linalg.norm(vector))
    return [*frames, close]
