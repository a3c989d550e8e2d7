"""Constants of the network that are not fitted, shared by everything that evaluates it.

The core is that of J. F. Ziegler, J. P. Biersack and U. Littmark, The Stopping and Range of Ions in Solids (1985):
E(r) = Z² e² / r · Σ_k s_k exp(−d_k r / a), a = 0.8854 a₀ / (2 Z^0.23).
"""

from ru_calc.units import BOHR_A, COULOMB_EV_A, RUTHENIUM

ZBL_STRENGTHS = (0.18175, 0.50986, 0.28022, 0.02817)
ZBL_DECAYS = (3.19980, 0.94229, 0.40290, 0.20162)
ZBL_PREFACTOR, ZBL_POWER = 0.8854, 0.23
ZBL_LENGTH_A = ZBL_PREFACTOR * BOHR_A / (2.0 * RUTHENIUM**ZBL_POWER)
ZBL_SCALE_EV_A = RUTHENIUM**2 * COULOMB_EV_A

# A wide eps keeps the layer normalisation smooth where the features vanish, as for an atom that leaves the others.
NORM_EPS = 1e-2
