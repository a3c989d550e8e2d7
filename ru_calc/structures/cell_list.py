"""Pairs within a cutoff from vesin's cell list, called through its C interface.

Importing the Python package `vesin` also imports torch, only to accept its tensors; that would cost every run on the
CPU seconds and memory.  So the C library is loaded without it, with vesin's own declarations of the interface: a
private file, hence the upper bound on its version in `setup.cfg`.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np

LIBRARIES = (".so", ".dylib", ".dll")


class CellList:
    """Finds pairs closer than `cutoff_A` (Å); its memory is reused from call to call.

    Raises:
        ImportError: vesin is missing, or lacks what is needed here.
    """

    def __init__(self, cutoff_A: float) -> None:
        self.cutoff_A = float(cutoff_A)
        self._api, self._library = _vesin()
        self._found = self._api.VesinNeighborList()

    def __del__(self) -> None:
        if hasattr(self, "_found"):
            self._library.vesin_free(self._found)

    def pairs(
        self, positions: np.ndarray, cell: np.ndarray, pbc: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The unordered pairs, each once and in no particular order.

        Args:
            positions: (n, 3) in Å, n ≥ 1, inside the cell.
            cell: (3, 3) in Å, of three independent vectors.
            pbc: (3,) bool.

        Returns:
            First and second atom, (n_pairs,) int64, and shifts of the second, (n_pairs, 3) int32.
        """
        api, reason = self._api, ctypes.c_char_p()
        points, box = (np.ascontiguousarray(array, dtype=np.float64) for array in (positions, cell))
        status = self._library.vesin_neighbors(
            _pointer(points, ctypes.c_double),
            len(points),
            _pointer(box, ctypes.c_double),
            (ctypes.c_bool * 3)(*(bool(periodic) for periodic in pbc)),
            api.VesinDevice(api.VesinCPU, 0),
            api.VesinOptions(cutoff=self.cutoff_A, full=False, return_shifts=True),
            self._found,
            reason,
        )
        if status:
            raise RuntimeError(f"the neighbour search failed: {(reason.value or b'').decode()}")
        if not self._found.length:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 3), dtype=np.int32)
        atoms = np.ctypeslib.as_array(self._found.pairs, (self._found.length,)).astype(np.int64)
        shifts = np.ctypeslib.as_array(self._found.shifts, (self._found.length,)).astype(np.int32)
        return atoms[:, 0], atoms[:, 1], shifts


def _pointer(array: np.ndarray, kind: type) -> ctypes._Pointer:
    return array.ctypes.data_as(ctypes.POINTER(kind))


@cache
def _vesin() -> tuple[ModuleType, ctypes.CDLL]:
    """The declarations of vesin's C interface, and its library."""
    package = find_spec("vesin")  # locates the package without running it
    folder = Path((package.submodule_search_locations or [""])[0]) if package else Path()
    libraries = [path for path in folder.glob("*/*vesin.*") if path.suffix in LIBRARIES]
    declarations = spec_from_file_location("vesin_c_api", folder / "_c_api.py")
    if not libraries or not (folder / "_c_api.py").is_file() or declarations is None or declarations.loader is None:
        raise ImportError("the neighbor search needs vesin 0.6: pip install 'vesin >= 0.6, < 0.7'")
    api = module_from_spec(declarations)
    declarations.loader.exec_module(api)
    library = ctypes.CDLL(str(libraries[0]))
    api.setup_functions(library)
    return api, library
