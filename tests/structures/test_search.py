"""The search follows the atoms, not the space or the shape of the cell, and refuses what would never end."""

from __future__ import annotations

import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, hcp0001
from checks import as_keys, check_pairs, frames

from ru_calc.errors import DataError
from ru_calc.structures import Structures, search
from ru_calc.structures.neighbors import VerletList, find_pairs

REACH_A = 6.5


def seconds(atoms: Atoms) -> float:
    """CPU time of a search."""
    structures = Structures.from_atoms(atoms)
    start = time.process_time()
    find_pairs(structures, REACH_A)
    return time.process_time() - start


def thin(n: int, cell: list[float], pbc: list[bool] | bool = True) -> Atoms:
    return Atoms(f"Ru{n}", np.random.default_rng(0).uniform(0, 10, (n, 3)), cell=cell, pbc=pbc)


def dense(n: int, size_A: float) -> Atoms:
    return Atoms(f"Ru{n}", np.random.default_rng(0).uniform(0, size_A, (n, 3)))


def dense_slab() -> Atoms:
    slab = hcp0001("Ru", (20, 20, 10), a=0.3, c=0.5)
    slab.pbc = (True, True, False)
    return slab


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (Atoms("Ru", cell=[1e-3] * 3, pbc=True), r"1 atoms in a cell of 1e-09 Å³ are 1e\+09 per Å³ \(limit 10"),
        (Atoms("Ru", cell=[0.02] * 3, pbc=True), r"are 1.25e\+05 per Å³"),
        (thin(60, [10, 10, 1e-3]), r"60 atoms in a cell of 0.1 Å³ are 600 per Å³"),
        (thin(60, [10, 100, 5e-3], [False, True, True]), r"about .* pairs .* around atom \d+"),
        (thin(600, [100, 1000, 1e-3]), r"600 atoms in a cell of 100, 1e\+03, 0.001 Å, 6 per Å³ .* images within 6.5 Å"),
        (thin(60, [0, 0, 1e-5], [False, False, True]), r"60 atoms in a cell of 1e-05 Å would have about .* images"),
        (thin(60, [0, 0, 1e-3], [False, False, True]), r"about .* pairs .* around atom \d+, .* per Å³"),
        (dense(5000, 1.0), r"about .* pairs within 6.5 Å among 5000 atoms .* 5000 atoms and images lie in a cube"),
        (Atoms("Ru9000", np.ones((9000, 3))), r"9000 atoms and images .* check positions, cell and their unit"),
        (bulk("Ru", "hcp", a=2.7, c=4.3) * (20, 20, 20) + dense(6000, 0.5), "around atom"),
        (dense_slab(), "4000 atoms .* around atom"),
    ],
)
def test_what_is_far_too_dense_is_refused_before_the_search(atoms: Atoms, message: str) -> None:
    start = time.process_time()
    with pytest.raises(DataError, match=message):
        find_pairs(Structures.from_atoms(atoms), REACH_A)
    assert time.process_time() - start < 2.0


@pytest.mark.parametrize("size_A", [1.1e8, 1e20, 1e160, 1e300])
@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("pbc", [True, False])
def test_a_lattice_vector_beyond_all_measure_is_refused_by_name(size_A: float, axis: int, pbc: bool) -> None:
    cell = np.diag([5.0, 5.0, 5.0])
    cell[axis] = [0.0, size_A, 1.0]
    with pytest.raises(DataError, match=rf"lattice vector {axis} is .* longer than 1e\+08 Å"):
        Structures.from_atoms(Atoms("Ru", cell=cell, pbc=pbc))


def test_atoms_too_many_cells_away_are_refused() -> None:
    atoms = Atoms("Ru2", [[0, 0, 0], [9e7, 0, 0]], cell=[0.05, 50, 50], pbc=True)
    with pytest.raises(DataError, match=r"position of atom 1 .* lattice vectors away; wrap"):
        find_pairs(Structures.from_atoms(atoms), 0.1)


@pytest.mark.parametrize("periodic", [(False, False, True), (False, False, False), (True, True, True)])
def test_evaporated_atoms_cost_what_their_number_costs(periodic: tuple[bool, bool, bool]) -> None:
    wire = bulk("Ru", "hcp", a=2.7, c=4.3) * (3, 3, 10)
    gas = Atoms("Ru80", np.random.default_rng(1).uniform(-700, 700, (80, 3)))
    both = wire + gas
    for atoms in (wire, both):
        atoms.set_cell([1500.0, 1500.0, 1500.0 if periodic[0] else wire.cell[2, 2]])
        atoms.pbc = periodic
    assert seconds(both) < 5 * seconds(wire) + 0.05
    found = as_keys(find_pairs(Structures.from_atoms(both), REACH_A))
    n = len(wire)
    alone = set(as_keys(find_pairs(Structures.from_atoms(wire), REACH_A)))
    assert {key for key in found if key[1] < n} == alone


def test_a_gas_costs_no_more_than_a_crystal() -> None:
    crystal = bulk("Ru", "hcp", a=2.7, c=4.3) * (10, 10, 10)
    gas = Atoms("Ru2000", np.random.default_rng(2).uniform(-1e7, 1e7, (2000, 3)), cell=[2e7] * 3, pbc=True)
    assert seconds(gas) < seconds(crystal)


@pytest.mark.parametrize("shear", [1, 40, -1e3, 1e4])
def test_the_shape_in_which_a_lattice_is_described_does_not_matter(shear: float) -> None:
    compact = frames()["hcp"]
    skewed = compact.copy()
    skewed.cell[1] += round(shear) * skewed.cell[0]
    skewed.cell[2] += round(shear / 2) * skewed.cell[0] - round(shear**0.5 if shear > 0 else 3) * compact.cell[1]
    lists = [find_pairs(Structures.from_atoms(atoms), REACH_A) for atoms in (compact, skewed)]
    for a, b in zip(*(np.column_stack([pairs.first, pairs.second]) for pairs in lists), strict=True):
        assert (a == b).all()
    structures = [Structures.from_atoms(atoms) for atoms in (compact, skewed)]
    lengths = [np.linalg.norm(pairs.vectors(s), axis=1) for pairs, s in zip(lists, structures, strict=True)]
    assert np.allclose(np.sort(lengths[0]), np.sort(lengths[1]), rtol=0, atol=1e-8)


def test_atoms_millions_of_cells_away_have_the_same_neighbours() -> None:
    near, far = frames()["hcp"], frames()["hcp"]
    jumps = np.random.default_rng(3).integers(-(10**6), 10**6, size=(len(far), 3))
    far.positions += jumps @ far.cell.array
    lists = [find_pairs(Structures.from_atoms(atoms), REACH_A) for atoms in (near, far)]
    moved = lists[1].shifts + jumps[lists[1].second] - jumps[lists[1].first]
    expected = set(as_keys(lists[0]))
    lists[1].shifts[:] = moved
    assert set(as_keys(lists[1])) == expected


@pytest.mark.parametrize("name", list(frames()))
def test_pieces_give_what_the_whole_gives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    structures = Structures.from_atoms(frames()[name])
    whole = find_pairs(structures, 5.0)
    monkeypatch.setattr(search, "PIECE", 3)
    pieces = find_pairs(structures, 5.0)
    check_pairs(pieces, structures, 5.0)
    for part in ("first", "second", "shifts"):
        assert np.array_equal(getattr(whole, part), getattr(pieces, part))


@pytest.mark.parametrize("ended_by", [KeyboardInterrupt, MemoryError])
def test_a_search_that_ends_early_leaves_the_list_usable(
    ended_by: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    structures, verlet = Structures.from_atoms(frames()["hcp"]), VerletList(5.0)
    other = Structures.from_atoms(frames()["slab"])
    verlet.update(other)

    def end(*_: object, **__: object) -> None:
        raise ended_by

    with monkeypatch.context() as patch:
        patch.setattr(search, "KDTree", end)
        for _ in range(2):
            with pytest.raises(ended_by):
                verlet.update(structures)
    _, pairs = verlet.update(structures)
    check_pairs(pairs.within(structures, 5.0), structures, 5.0)


def test_atoms_that_come_close_are_named_whenever_the_list_was_made() -> None:
    atoms = frames()["hcp"]
    verlet, closest = VerletList(5.0, 1.0), []
    for step in range(60):
        atoms.positions[3] += 0.05 * (atoms.positions[7] - atoms.positions[3])
        if step == 20:
            atoms.positions[5] += atoms.cell.array[0]
        followed, _ = verlet.update(Structures.from_atoms(atoms))
        closest.append(verlet.closer_than(followed, 1.0))
        fresh = VerletList(5.0, 0.0)
        expected = fresh.closer_than(fresh.update(Structures.from_atoms(atoms))[0], 1.0)
        assert (closest[-1] is None) == (expected is None)
        if expected is not None:
            assert closest[-1].distance_A == pytest.approx(expected.distance_A, abs=1e-9)
    assert closest[0] is None and closest[-1] is not None and {closest[-1].first, closest[-1].second} == {3, 7}
    assert 1 < verlet.rebuilds < 20


def test_distances_are_computed_only_where_there_is_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms, verlet = frames()["hcp"], VerletList(5.0, 1.0)
    verlet.update(Structures.from_atoms(atoms))
    monkeypatch.setattr("ru_calc.structures.neighbors.closest_of", None)
    rng = np.random.default_rng(0)
    for _ in range(10):
        atoms.positions += rng.normal(scale=0.03, size=(len(atoms), 3))
        followed, _ = verlet.update(Structures.from_atoms(atoms))
        assert verlet.closer_than(followed, 0.1) is None
