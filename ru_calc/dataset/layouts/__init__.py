"""Layouts of frames in files and folders, and which of them a file has."""

from ru_calc.dataset.layouts.contents import Contents
from ru_calc.dataset.layouts.paths import Source, files_of, locate
from ru_calc.dataset.layouts.reader import FORMATS, read_contents, read_frames, read_last

__all__ = ["FORMATS", "Contents", "Source", "files_of", "locate", "read_contents", "read_frames", "read_last"]
