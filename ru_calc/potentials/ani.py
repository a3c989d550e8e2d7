"""ANI for ruthenium: an atom's energy is a network of its symmetry functions.

After J. S. Smith, O. Isayev, A. E. Roitberg, Chem. Sci. 8, 3192 (2017), for one element, hence one network:

    E = Σ_i [E_atom + ε(x_i) − ε(x_lone)] + ½ Σ_ij ZBL(r_ij),   x_i = (G_i − mean) / spread

with the G_i of `symmetry.py`, mean and spread over the training set, and ε dense layers with SiLU.

Differs from the paper in:
- layers are activated by SiLU; the paper has Gaussians, and ANI's later versions CELU, whose second derivative jumps;
- the starting paper (doi 10.36922/ijamd.8291) does not state its ANI's shells and layers; these suit ruthenium, whose
  atoms have 18 to 20 neighbours within 4.6 Å, and all symmetry functions are smooth to the second derivative;
- symmetry functions are standardised; ANI feeds them as they are;
- the energy of a lone atom is a constant of the model, and a fixed ZBL core repels atoms that come too close;
- one network, not an ensemble.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ru_calc.potentials.layers import dense
from ru_calc.potentials.settings import WIDEST
from ru_calc.potentials.symmetry import SymmetryPotential, SymmetrySettings


@dataclass(frozen=True)
class ANISettings(SymmetrySettings):
    """Hyper-parameters: those of the symmetry functions, and

    Attributes:
        hidden: widths of the network's hidden layers.
    """

    least: ClassVar[dict[str, float]] = {"hidden": 1}
    most: ClassVar[dict[str, float]] = {"hidden": WIDEST}
    hidden: tuple[int, ...] = (128, 96, 64)


class ANI(SymmetryPotential):
    """Dense layers on symmetry functions; see the top of the file."""

    family = "ani"

    def __init__(self, settings: ANISettings) -> None:
        super().__init__(settings)
        self.energy = dense(self.symmetry.width, *settings.hidden, 1)
