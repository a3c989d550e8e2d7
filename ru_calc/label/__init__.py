"""Labels of structures by any ASE calculator: a file that grows frame by frame and survives a kill."""

from ru_calc.label.attempt import check_calculator
from ru_calc.label.run import label_frames
from ru_calc.label.settings import Labelling, LabelSettings

__all__ = ["LabelSettings", "Labelling", "check_calculator", "label_frames"]
