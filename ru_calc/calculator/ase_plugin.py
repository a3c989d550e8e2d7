"""Entry point of the group `ase.plugins`: ASE finds the calculator as `ru_schnet` and imports it when it is used.

ASE reads `__ase_plugins__` of every module in that group.  The classes are still in a private package (ASE 3.29); an
ASE that has moved them finds nothing here, instead of failing for all plugins.
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
