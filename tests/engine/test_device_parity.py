"""`DeviceEngine` in plain torch on the CPU gives what the reference and the compiled engine give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from checks import assert_same, without
from parity import (
    FINEST,
    KERNELS,
    MODELS,
    SMALL,
    STRUCTURES,
    break_arrays,
    device_engine,
    dimers,
    engine,
    intervals,
    model,
    nudge,
    settings,
)
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ru_calc.potentials.derivatives import Reference
from ru_calc.predictor import Prediction
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs

OVERLAPPING = "600 neighbours"
NAMES = ["angular", "no angles, three blocks, no norm"]
ORDINARY = {label: atoms for label, atoms in SMALL.items() if label != OVERLAPPING}


def assert_parity(found: Prediction, expected: Prediction, row: str) -> None:
    """Frame by frame: a frame of large numbers does not make another one's errors small."""
    assert_same(Prediction(expected.energy, found.energies, found.forces, found.stress), expected, row)
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-12 if "64" in row else 2e-6, atol=1e-4)


def check_batch(predict: Callable[[list[Atoms]], Prediction], name: str, row: str) -> None:
    """All small structures and dimers in one call."""
    for batch in (list(ORDINARY.values()), list(dimers(settings(name)["cutoff_A"]).values())):
        assert_parity(predict(batch), Reference(model(name)).predict(batch), row)


@pytest.mark.parametrize("name", [*MODELS, "default", "plain"])
def test_it_is_the_reference_up_to_rounding(name: str) -> None:
    finest = device_engine(name, intervals=intervals(name, FINEST))
    for made, row in ((finest, "float64 tables"), (device_engine(name, "float32"), "float32 tables")):
        check_batch(made.predict, name, row)


@pytest.mark.parametrize("name", NAMES)
def test_more_neighbours_than_a_tile_holds(name: str) -> None:
    atoms = STRUCTURES[OVERLAPPING]
    assert_same(device_engine(name).predict(atoms), Reference(model(name)).predict(atoms), "float64 tables")


@pytest.mark.skipif(not KERNELS, reason="there is no compiled module")
@pytest.mark.parametrize("name", [*NAMES, "odd widths", "splines", "default"])
def test_with_the_same_tables_it_is_the_compiled_engine(name: str) -> None:
    batch = list(ORDINARY.values())
    assert_same(device_engine(name).predict(batch), engine(name).predict(batch))


def in_pieces_of(slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ru_calc.engine.device_rows.SLOTS", {"cpu": slots})


@pytest.mark.parametrize("name", NAMES)
def test_many_pieces_give_what_one_piece_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, found = list(SMALL.values()), []
    for slots in (1 << 20, 1 << 9):
        in_pieces_of(slots, monkeypatch)
        made, structures = device_engine(name), Structures.from_atoms(batch)
        pairs = find_pairs(structures, made.cutoff_A)
        found.append(made.predict(structures, pairs))
        assert (len(made._plan.prepared) == 1) == (slots == 1 << 20)
    assert_same(*found)


class Memory(TorchDispatchMode):
    """Bytes of all tensors that are in use at once, at most."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[StorageWeakRef, int] = {}
        self.most = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        storages = [part.untyped_storage() for part in tree_leaves(result) if isinstance(part, torch.Tensor)]
        self.live |= {StorageWeakRef(storage): storage.nbytes() for storage in storages}
        self.live = {storage: size for storage, size in self.live.items() if not storage.expired()}
        self.most = max(self.most, sum(self.live.values()))
        return result


def test_memory_beyond_that_of_a_piece_is_a_few_kilobytes_for_each_atom(monkeypatch: pytest.MonkeyPatch) -> None:
    made, most = device_engine("default", "float32"), {}
    for slots in (1 << 11, 1 << 20):
        in_pieces_of(slots, monkeypatch)
        for repeats in (2, 4):
            with Memory() as memory:
                made.predict(bulk("Ru", "hcp", a=2.72, c=4.29) * (5, 5, repeats))
            most[slots, repeats] = memory.most
    assert (most[1 << 11, 4] - most[1 << 11, 2]) / 100 < 16e3
    assert (most[1 << 20, 4] - most[1 << 20, 2]) / 100 > 64e3


# That the check bites


@pytest.mark.parametrize(
    ("name", "table"), [("angular", "angular_table"), ("angular", "filter_1"), (NAMES[1], "filter_0")]
)
def test_one_entry_of_a_table_is_noticed(name: str, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_arrays(monkeypatch, table, nudge)
    with pytest.raises(AssertionError, match="not within"):
        check_batch(device_engine(name).predict, name, "float64 tables")


def test_a_pair_that_is_missing_is_noticed() -> None:
    structures, made = Structures.from_atoms(STRUCTURES["hcp"]), device_engine("angular")
    pairs = find_pairs(structures, made.cutoff_A)
    nearest = np.linalg.norm(pairs.vectors(structures), axis=1).argmin()
    with pytest.raises(AssertionError, match="not within"):
        assert_same(
            made.predict(structures, without(pairs, nearest)), made.predict(structures, pairs), "float64 tables"
        )


# Only what is asked for, and what may be asked


def test_energies_alone_take_no_slopes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ru_calc.engine.device_steps.gather_pull", None)
    device_engine("angular").predict(STRUCTURES["hcp"], None, ("energy", "energies"))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_a_number_shows_and_does_no_harm(name: str) -> None:
    made, structures = device_engine(name, "float32"), Structures.from_atoms(STRUCTURES["hcp"])
    pairs = find_pairs(structures, made.cutoff_A)
    expected = made.predict(structures, pairs)
    spoilt = Structures.from_atoms(STRUCTURES["hcp"])
    spoilt.positions[0, 0] = np.nan
    assert np.isnan(made.predict(spoilt, pairs).forces[0]).all()
    clash = Structures.from_atoms(STRUCTURES["hcp"])
    clash.positions[3] = clash.positions[4]
    assert np.isnan(made.predict(clash).forces[[3, 4]]).all()
    np.testing.assert_array_equal(made.predict(structures, pairs).forces, expected.forces)


def test_the_precision_of_products_is_left_as_it_was() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        device_engine("angular", "float32").predict(STRUCTURES["dimer"])
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
