"""Entry point of the group `ase.plugins`: registers the calculator `ru_schnet`, which is imported on first use.

ASE reads `__ase_plugins__` of every module in that group.  Its classes are still in a private package (ASE 3.29); if
they move, ASE finds no plugin here, and other plugins keep working.
"""

from typing import Any

__ase_plugins__: set[Any] = set()

try:
    from ase._4.plugins.plugin import CalculatorPlugin
except ImportError:
    pass
else:
    __ase_plugins__.add(
        CalculatorPlugin(
            name="ru_schnet",
            citation="K. T. Schütt et al., J. Chem. Phys. 148, 241722 (2018); doi 10.36922/ijamd.8291",
            implementation="ru_calc.calculator.RuSchNet",
        )
    )
