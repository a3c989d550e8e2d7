"""CalHousNet: a small multilayer perceptron on the power spectrum of each atom; the lightest of the families.

The starting paper (doi 10.36922/ijamd.8291, Table 1) compares a network of this name with SchNet.  By its name it is
the small network of dense layers that is commonly fitted to the California housing table, on descriptors in place of
the table's columns:

    ε_i = W₃ silu(W₂ silu(W₁ d̂_i + b₁) + b₂) + b₃            d̂_i standardised power spectrum, see `power.py`
    E   = Σ_i [E_atom + ε_i − ε_lone] + ½ Σ_ij ZBL(r_ij)

Differs from the paper in:
- the paper does not give the layers; 64 and 32 units are what the housing network usually has, or near it;
- one network sees one atom and the energies are summed, so that frames of any size fit; forces and stress are
  derivatives of the energy, where the paper fits them as further outputs;
- SiLU in place of ReLU, no batch normalisation, no dropout: forces must not jump, nor depend on the batch;
- the descriptors, see `power.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ru_calc.potentials.layers import dense
from ru_calc.potentials.power import PowerPotential, PowerSettings
from ru_calc.potentials.settings import WIDEST


@dataclass(frozen=True)
class CalHousNetSettings(PowerSettings):
    """Hyper-parameters: those of the descriptors, and

    Attributes:
        hidden: widths of the hidden layers.
    """

    least: ClassVar[dict[str, float]] = {"hidden": 1}
    most: ClassVar[dict[str, float]] = {"hidden": WIDEST}
    hidden: tuple[int, ...] = (64, 32)


class CalHousNet(PowerPotential):
    """The perceptron; see the top of the file."""

    family = "calhousnet"

    def __init__(self, settings: CalHousNetSettings) -> None:
        super().__init__(settings)
        self.energy = dense(self.power.width, *settings.hidden, 1)
