"""The ASE calculators, their speed, and their registration with ASE."""

from typing import TYPE_CHECKING

from ru_calc import lazy_names

if TYPE_CHECKING:
    from ru_calc.calculator.calculator import RuCalculator, RuSchNet

__all__ = ["RuCalculator", "RuSchNet"]

__getattr__ = lazy_names(__name__, dict.fromkeys(__all__, "ru_calc.calculator.calculator"))
