"""Speed compared with other packages, in one run on the machine at hand."""

from ru_calc.studies.bench.run import run_bench
from ru_calc.studies.bench.settings import PEERS, SIZES, BenchSettings

__all__ = ["PEERS", "SIZES", "BenchSettings", "run_bench"]
