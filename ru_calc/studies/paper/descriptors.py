"""SOAP vectors of every atom by DScribe, cached in a file."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from ase import Atoms

from ru_calc.dataset import Dataset
from ru_calc.errors import SettingsError
from ru_calc.files import whole_file
from ru_calc.structures import Structures
from ru_calc.structures.search import complete_cell
from ru_calc.studies.paper.settings import SoapSettings
from ru_calc.units import RUTHENIUM


def require_dscribe() -> None:
    """Refuses to start without DScribe.

    Raises:
        SettingsError: it is not installed.
    """
    if find_spec("dscribe") is None:
        raise SettingsError("the paper protocol needs DScribe for its descriptors: pip install 'ru-calc[compare]'")


def soap_vectors(structures: Structures, settings: SoapSettings) -> np.ndarray:
    """(n_atoms, width) power spectra, float32; periodic along each frame's own `pbc`.

    Raises:
        SettingsError: DScribe is not installed.
    """
    require_dscribe()
    from dscribe.descriptors import SOAP

    soap = SOAP(
        species=[RUTHENIUM], r_cut=settings.r_cut_A, n_max=settings.n_max, l_max=settings.l_max,
        sigma=settings.sigma_A, periodic=True,
    )  # fmt: skip
    vectors = np.empty((structures.n_atoms, soap.get_number_of_features()), dtype=np.float32)
    for k, (start, stop) in enumerate(zip(structures.offsets[:-1], structures.offsets[1:], strict=True)):
        pbc = structures.pbc[k]
        # DScribe refuses a cell without a volume, also where it is not periodic.
        cell = complete_cell(structures.cells[k], pbc)
        atoms = Atoms([RUTHENIUM] * (stop - start), structures.positions[start:stop], cell=cell, pbc=pbc)
        vectors[start:stop] = soap.create(atoms)
    return vectors


def cached_soap_vectors(dataset: Dataset, settings: SoapSettings, path: Path) -> np.ndarray:
    """`soap_vectors` from `path`; computed and written if it is missing, damaged, or of other frames or settings."""
    key = json.dumps({"data": dataset.fingerprint(), **asdict(settings)})
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) == key:
                return np.asarray(stored["vectors"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    vectors = soap_vectors(dataset.structures, settings)
    with whole_file(path) as unfinished:
        np.savez(unfinished, key=np.array(key), vectors=vectors)
    return vectors
