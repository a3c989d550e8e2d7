"""Diverse structures of ruthenium for labelling: crystals, defects, surfaces, molecules, and frames of runs."""

from ru_calc.sample.catalogue import KINDS, wanted_kinds, wanted_md_kinds
from ru_calc.sample.dynamics import MD_KINDS, MDFrames, md_frames
from ru_calc.sample.run import Sample, sample, static_frames
from ru_calc.sample.settings import SampleSettings

__all__ = [
    "KINDS",
    "MD_KINDS",
    "MDFrames",
    "Sample",
    "SampleSettings",
    "md_frames",
    "sample",
    "static_frames",
    "wanted_kinds",
    "wanted_md_kinds",
]
