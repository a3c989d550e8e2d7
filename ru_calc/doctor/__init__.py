"""What is wrong with a labelled data set, told from what is known of ruthenium; `ru-calc data check`."""

from ru_calc.doctor.examine import examine, examine_together
from ru_calc.doctor.findings import SEVERITIES, Finding, Report

__all__ = ["SEVERITIES", "Finding", "Report", "examine", "examine_together"]
