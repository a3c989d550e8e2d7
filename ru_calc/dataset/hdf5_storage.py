"""Whether an HDF5 dataset is stored whole in its own file, and no larger than it says."""

from __future__ import annotations

import math
import zlib

import h5py
import numpy as np

ALWAYS_ALLOWED_BYTES = 64_000_000
DEFLATE, FLETCHER32 = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32


def claimed_bytes(dataset: h5py.Dataset) -> int:
    """What reading the dataset takes: all of it, or one chunk if that is more."""
    item = dataset.id.get_type().get_size()
    return max(item * math.prod(shape) for shape in (dataset.shape, dataset.chunks or ()))


def storage_problem(dataset: h5py.Dataset, nan_is_missing: bool = False) -> str | None:
    """What is wrong with the storage of a dataset, to follow its name; None if it can be read.

    Args:
        dataset: to be read.
        nan_is_missing: values that were never written may be missing, if they are read as NaN and not as numbers.
    """
    if dataset.is_virtual or dataset.external:
        return "keeps its values in other files; copy them into this one, e.g. with h5repack"
    nan = nan_is_missing and dataset.dtype.kind == "f" and bool(np.isnan(dataset.fillvalue))
    if dataset.chunks is not None:
        return (None if nan else _lost_chunks(dataset)) or _swollen_chunk(dataset)
    stored, claimed = dataset.id.get_storage_size(), claimed_bytes(dataset)
    return f"holds {stored} of {claimed} bytes; the rest is not there" if stored < claimed and not nan else None


def _lost_chunks(dataset: h5py.Dataset) -> str | None:
    wanted = math.prod(-(-length // part) for length, part in zip(dataset.shape, dataset.chunks, strict=True))
    found = dataset.id.get_num_chunks()
    return f"holds {found} of {wanted} chunks; the rest is not there" if found != wanted else None


def _swollen_chunk(dataset: h5py.Dataset) -> str | None:
    """libhdf5 inflates a chunk to its end, whatever its size should be: a MB may become a GB."""
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(k)[0] for k in range(plist.get_nfilters())]
    summed = filters[-1:] == [FLETCHER32]
    last = len(filters) - summed - 1
    if last < 0 or filters[last] != DEFLATE:
        return None
    size = dataset.id.get_type().get_size() * math.prod(dataset.chunks)

    def swollen(stored: h5py.h5d.StoreInfo) -> bool | None:
        if stored.filter_mask & 1 << last:
            return None
        _, packed = dataset.id.read_direct_chunk(stored.chunk_offset)
        room = size + 4
        return len(zlib.decompressobj().decompress(packed[: len(packed) - 4 * summed], room + 1)) > room or None

    return f"has a chunk of more than its {size} bytes" if dataset.id.chunk_iter(swollen) else None
