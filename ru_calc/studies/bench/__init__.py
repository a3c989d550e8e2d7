"""Speed beside that of other packages, measured in one run on the machine at hand."""

from ru_calc.studies.bench.race import Result
from ru_calc.studies.bench.run import Bench, run_bench
from ru_calc.studies.bench.settings import PEERS, SIZES, BenchSettings

__all__ = ["PEERS", "SIZES", "Bench", "BenchSettings", "Result", "run_bench"]
