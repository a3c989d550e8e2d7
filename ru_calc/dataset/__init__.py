"""Labelled frames in memory and in HDF5, and their split into training, validation and test sets."""

from ru_calc.dataset.frames import LABELS, Dataset
from ru_calc.dataset.hdf5 import read_dataset, shipped_data, write_dataset
from ru_calc.dataset.hdf5_layout import SCHEMA, UNITS
from ru_calc.dataset.split import check_fractions, fold_of, split_by_group

__all__ = [
    "LABELS", "SCHEMA", "UNITS", "Dataset", "check_fractions", "fold_of", "read_dataset", "shipped_data",
    "split_by_group", "write_dataset",
]  # fmt: skip
