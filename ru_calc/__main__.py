"""`python -m ru_calc` is `ru-calc`."""

from ru_calc.cli import main

main(prog_name="ru-calc")
