"""Errors of a model, or of any ASE calculator, against the labels of a data set.

dataset ──▶ Predictions ──▶ energy shift ──▶ Evaluation ──▶ table, parity plots, worst frames
"""

from ru_calc.evaluate.assessment import SHIFTS, Evaluation, assess, chosen_frames
from ru_calc.evaluate.predictions import (
    Failure,
    Predictions,
    load_calculator,
    predict_by_calculator,
    predict_by_model,
)
from ru_calc.evaluate.report import tables, write_report
from ru_calc.evaluate.splits import only, read_split

__all__ = [
    "SHIFTS",
    "Evaluation",
    "Failure",
    "Predictions",
    "assess",
    "chosen_frames",
    "load_calculator",
    "only",
    "predict_by_calculator",
    "predict_by_model",
    "read_split",
    "tables",
    "write_report",
]
