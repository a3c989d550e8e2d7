"""Outputs of pw.x, written here in its format: units by hand, and steps that did not converge."""

from __future__ import annotations

import numpy as np

from ru_calc.dataset.convert import convert

RYDBERG_EV, BOHR_A = 13.605693, 0.52917721
START = """
     Program PWSCF v.7.2 starts on  1Jan2024 at  0: 0: 0

     number of atoms/cell      =            2
     number of atomic types    =            1
     celldm(1)=   6.000000  celldm(2)=   0.000000  celldm(3)=   0.000000

     crystal axes: (cart. coord. in units of alat)
               a(1) = (   1.000000   0.000000   0.000000 )
               a(2) = (   0.000000   1.000000   0.000000 )
               a(3) = (   0.000000   0.000000   1.500000 )

     Cartesian axes

     site n.     atom                  positions (alat units)
         1           Ru  tau(   1) = (   0.0000000   0.0000000   0.0000000  )
         2           Ru  tau(   2) = (   0.5000000   0.5000000   0.7500000  )

"""
RESULTS = """
     End of self-consistent calculation

     Number of k-points >= 100: set verbosity='high' to print the bands.

{energy}

     Forces acting on atoms (cartesian axes, Ry/au):

     atom    1 type  1   force =     0.00000000    0.00000000    0.01000000
     atom    2 type  1   force =     0.00000000    0.00000000   -0.01000000

     Computing stress (Cartesian axis) and pressure

          total   stress  (Ry/bohr**3)                   (kbar)     P=      147.1
   0.00100000   0.00000000   0.00000000          147.11        0.00        0.00
   0.00000000   0.00200000   0.00000000            0.00      294.21        0.00
   0.00000000   0.00000000   0.00300000            0.00        0.00      441.32

ATOMIC_POSITIONS (angstrom)
Ru               0.0000000000        0.0000000000        0.0000000000
Ru               1.6000000000        1.6000000000        2.4000000000

"""
CONVERGED = (
    "!    total energy              =    -100.00000000 Ry\n\n     convergence has been achieved in  11 iterations"
)
GIVEN_UP = "     convergence NOT achieved after 100 iterations: stopping"


def test_an_output_of_pw_is_in_ev_and_tension_is_positive(tmp_path):
    (tmp_path / "pw.out").write_text(START + RESULTS.format(energy=CONVERGED) + RESULTS.format(energy=GIVEN_UP))
    result = convert([tmp_path / "pw.out"])
    found = result.dataset
    np.testing.assert_allclose(found.energy, [-100 * RYDBERG_EV], rtol=1e-6)
    np.testing.assert_allclose(found.forces[:, 2], np.array([0.01, -0.01]) * RYDBERG_EV / BOHR_A, rtol=1e-6)
    np.testing.assert_allclose(found.stress[0, :3], -np.array([1e-3, 2e-3, 3e-3]) * RYDBERG_EV / BOHR_A**3, rtol=1e-6)
    assert result.account.unfit == [f"{tmp_path / 'pw.out'}, frame 1: its SCF did not converge"]
