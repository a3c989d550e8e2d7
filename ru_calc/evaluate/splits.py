"""Training, validation and test frames, from the `split.json` of a run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ru_calc.dataset import Dataset
from ru_calc.errors import DataError
from ru_calc.files import read_json, shipped


def read_split(split: str | Path, dataset: Dataset) -> dict[str, np.ndarray]:
    """Split name → indices of frames.

    Args:
        split: a `split.json`, a run folder with one, or the name of a shipped model.
        dataset: that the split must belong to.

    Raises:
        DataError: the file is missing or of another kind, or belongs to another data set.
    """
    by_model = {path.name.removesuffix(".split.json"): path for path in shipped("*.split.json")}
    path = Path(by_model.get(str(split), split))
    path = path / "split.json" if path.is_dir() else path
    if not path.is_file():
        named = ", ".join(by_model) or "none is shipped"
        raise DataError(f"there is no split {path}; give the split.json of a run folder, or a model's name ({named})")
    try:
        content = read_json(path)
        owner = content.pop("data")
        parts = {str(name): np.array(frames, dtype=np.int64).reshape(-1) for name, frames in content.items()}
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as problem:
        raise DataError(f"{path} is not a split file ({problem!r}); give the split.json of a run folder") from problem
    if owner != dataset.fingerprint():
        raise DataError(
            f"{path} belongs to the data set {str(owner)[:12]}, but this is {dataset.fingerprint()[:12]}; give the "
            "split of this data set"
        )
    indices = np.concatenate([*parts.values(), np.zeros(0, dtype=np.int64)])
    if not len(indices) or indices.min() < 0 or indices.max() >= len(dataset):
        raise DataError(f"{path} has frames outside 0–{len(dataset) - 1}; give the split of this data set")
    if len(np.unique(indices)) < len(indices):
        raise DataError(f"{path} has a frame twice; its parts must be disjoint")
    return parts


def only(parts: dict[str, np.ndarray], names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The parts with the given names, or all if none is given.

    Raises:
        DataError: the split has no such part.
    """
    unknown = [name for name in names if name not in parts]
    if unknown:
        raise DataError(f"the split has no part {unknown[0]!r}; it has {', '.join(parts)}")
    return {name: frames for name, frames in parts.items() if not names or name in names}
