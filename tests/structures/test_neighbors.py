"""Neighbour lists against a brute-force sum over images, and against ASE's own list."""

from __future__ import annotations

import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.neighborlist import primitive_neighbor_list
from checks import as_keys, check_pairs, constant_pressure_walk, frames, rattled, without

from ru_calc.errors import DataError
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import ClosePair, NeighborPairs, VerletList, closest_of, find_pairs
from ru_calc.structures.search import complete_cell


def random_atoms(seed: int) -> Atoms:
    """A few atoms in a random cell: orthorhombic, skewed, strongly skewed or with atoms on its borders."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(2.0, 6.0, 3))
    if seed % 4 == 1:
        cell += rng.normal(scale=1.0, size=(3, 3))
    if seed % 4 == 2:
        cell = np.array([[1, 0, 0], [rng.integers(-5, 6), 1, 0], [*rng.integers(-5, 6, 2), 1]]) @ cell
    n = int(rng.integers(1, 6))
    positions = rng.normal(scale=5.0, size=(n, 3))
    if seed % 4 == 3:
        positions = np.unique(rng.integers(-2, 3, size=(n, 3)) / 2, axis=0) @ cell
    pbc = rng.random(3) < 0.7
    if rng.random() < 0.5:
        cell[~pbc] = 0.0
    return Atoms(f"Ru{len(positions)}", positions, cell=cell, pbc=pbc)


@pytest.mark.parametrize("seed", range(60))
def test_random_cells_agree_with_brute_force(seed: int) -> None:
    atoms, cutoff = random_atoms(seed), 3.0 + 2.0 * (seed % 7) / 6
    structures = Structures.from_atoms(atoms)
    check_pairs(find_pairs(structures, cutoff), structures, cutoff)


@pytest.mark.parametrize("seed", range(60, 120))
def test_random_cells_agree_with_ase(seed: int) -> None:
    atoms, cutoff = random_atoms(seed), 4.1
    found = as_keys(find_pairs(Structures.from_atoms(atoms), cutoff))
    i, j, shifts = primitive_neighbor_list("ijS", atoms.pbc, atoms.cell.complete(), atoms.positions, cutoff)
    both = as_keys(NeighborPairs(i, j, shifts, np.zeros(len(i))))
    if seed % 4 != 3:  # on a lattice, rounding decides about pairs at the very cutoff
        assert len(both) == 2 * len(found)
        assert set(both) == set(found)


def test_the_closest_pair_is_found_through_images_and_named() -> None:
    atoms = Atoms("RuAuRu", positions=[[0, 0, 0.2], [0, 0, 3.0], [0, 0, 9.9]], cell=[10, 10, 10], pbc=True)

    def closest(atoms: Atoms, reach_A: float) -> ClosePair | None:
        structures = Structures.from_atoms(atoms, check=False)
        return closest_of(structures, find_pairs(structures, reach_A))

    assert closest(atoms, 0.25) is None
    found = closest(atoms, 4.0)
    assert found is not None and found[:2] == (0, 2) and found.distance_A == pytest.approx(0.3)
    assert str(found) == "atoms 0 and 2 are 0.300 Å apart"
    alone = closest(Atoms("Ru", cell=[0.5, 5, 5], pbc=True), 1.0)
    assert str(alone) == "atom 0 and its own image are 0.500 Å apart"


def test_a_pair_that_is_dropped_turned_or_listed_twice_is_noticed() -> None:
    structures = Structures.from_atoms(frames()["two atoms"])
    pairs = find_pairs(structures, 5.0)
    check_pairs(pairs, structures, 5.0)
    with pytest.raises(AssertionError, match="missing"):
        check_pairs(without(pairs, 7), structures, 5.0)
    both = zip(vars(pairs).values(), (pairs.second, pairs.first, -pairs.shifts, pairs.frames), strict=True)
    with pytest.raises(AssertionError, match="twice"):
        check_pairs(NeighborPairs(*(np.append(a, b[:1], axis=0) for a, b in both)), structures, 5.0)
    k = int(np.flatnonzero((pairs.first != pairs.second) & pairs.shifts.any(axis=1))[0])
    pairs.shifts[k] *= -1
    with pytest.raises(AssertionError):
        check_pairs(pairs, structures, 5.0)


@pytest.mark.parametrize(
    ("cutoff", "neighbors"), [(0.99, 0), (1.01, 6), (1.42, 18), (1.74, 26), (2.01, 32), (5.01, 514)]
)
def test_one_atom_in_a_cubic_cell_has_the_neighbors_of_a_cubic_lattice(cutoff: float, neighbors: int) -> None:
    # Number of lattice points within r: OEIS A000605 (r = 1, 2, 5: 7, 33, 515), A005875 summed for √2 and √3.
    structures = Structures.from_atoms(Atoms("Ru", [[0.3, 7.0, -2.0]], cell=np.eye(3), pbc=True))
    assert 2 * len(find_pairs(structures, cutoff)) == neighbors


@pytest.mark.parametrize("cutoff", [5.0, 6.0])
def test_a_tiny_strongly_skewed_cell_has_the_shells_of_its_compact_form(cutoff: float) -> None:
    compact = bulk("Ru", "fcc", a=3.7)
    skewed = make_supercell(compact, [[1, 0, 0], [7, 1, 0], [-5, 9, 1]])
    shells = []
    for atoms in (compact, skewed):
        structures = Structures.from_atoms(atoms)
        shells.append(np.sort(np.linalg.norm(find_pairs(structures, cutoff).vectors(structures), axis=1)))
    assert np.allclose(*shells, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["slab", "wire"])
def test_vectors_of_directions_that_are_not_periodic_do_not_matter(name: str) -> None:
    atoms = frames()[name]
    other = atoms.copy()
    other.cell[~atoms.pbc] = np.random.default_rng(0).normal(size=(3, 3))[~atoms.pbc]
    lists = [find_pairs(Structures.from_atoms(a), 5.0) for a in (atoms, other)]
    assert len(lists[0]) > 10
    assert as_keys(lists[0]) == as_keys(lists[1])
    assert not lists[0].shifts[:, ~atoms.pbc].any()


def test_frames_are_kept_apart() -> None:
    several = [atoms for atoms in frames().values() if len(atoms) < 20]
    structures = Structures.from_atoms(several)
    pairs, offsets = find_pairs(structures, 5.0), structures.offsets
    for k in range(len(several)):
        mine = pairs.frames == k
        alone = find_pairs(structures.frame(k), 5.0)
        assert np.array_equal(pairs.first[mine] - offsets[k], alone.first)
        assert np.array_equal(pairs.second[mine] - offsets[k], alone.second)
        assert np.array_equal(pairs.shifts[mine], alone.shifts)


def test_nothing_has_no_neighbors_and_a_position_that_is_not_finite_is_refused() -> None:
    assert len(find_pairs(Structures.from_atoms([]), 5.0)) == 0
    nobody = Structures.from_atoms([Atoms(), bulk("Ru"), Atoms()])
    assert set(find_pairs(nobody, 5.0).frames) == {1}
    nobody.positions[1, 1] = np.nan
    with pytest.raises(DataError, match="position of atom 1"):
        find_pairs(nobody, 5.0)


def test_the_order_of_pairs_depends_on_the_structure_alone() -> None:
    pairs = find_pairs(Structures.from_atoms(frames()["hcp"]), 5.0)
    keys = [(i, j, *s) for i, j, s in zip(pairs.first, pairs.second, pairs.shifts, strict=True)]
    assert keys == sorted(keys)
    assert (pairs.first <= pairs.second).all()


@pytest.mark.parametrize("away_A", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("periodic", [False, True])
def test_empty_space_costs_nothing(away_A: float, periodic: bool) -> None:
    slab = bulk("Ru", "hcp", a=2.7, c=4.28) * (4, 4, 4)
    slab.pbc, slab.cell[2] = (True, True, periodic), [0, 0, 2.5 * away_A * periodic]
    gone = slab + Atoms("Ru", [[0, 0, away_A]]) + Atoms("Ru", [[0, 0.1, away_A + 2.5]])
    start = time.perf_counter()
    found = as_keys(find_pairs(Structures.from_atoms(gone), 5.0))
    assert time.perf_counter() - start < 5.0
    n = len(slab)
    assert {key for key in found if key[0] < n} == set(as_keys(find_pairs(Structures.from_atoms(slab), 5.0)))
    # Each of the two sees the other twice (the images along x and y are too far), and no one else.
    assert (n, n + 1, 0, 0, 0) in found
    assert all(key[1] >= n for key in found if key[0] >= n)


def test_completed_cells_have_orthonormal_normals_that_turn_along() -> None:
    cell = np.array([[2.7, 0.1, 0], [-1.3, 2.4, 0.2], [5, 6, 7.0]])
    for pbc in ([True, True, False], [False, True, False], [True, False, True], [False, False, False]):
        full, strained = complete_cell(cell, pbc), complete_cell(cell @ (np.eye(3) + 1e-4), pbc)
        free = ~np.array(pbc)
        assert np.allclose(full[free] @ full[free].T, np.eye(free.sum()))
        assert np.allclose(full[free] @ full[~free].T, 0.0)
        assert np.array_equal(full[~free], cell[~free])
        assert np.allclose(full, strained, rtol=0, atol=5e-3)


# The Verlet list


def check_verlet(verlet: VerletList, walk: list[Atoms]) -> None:
    """At every step the list holds the fresh one, in the same order; atoms are followed by whole lattice vectors."""
    for atoms in walk:
        structures = Structures.from_atoms(atoms)
        followed, pairs = verlet.update(structures)
        fresh = find_pairs(followed, verlet.cutoff_A)
        assert as_keys(pairs.within(followed, verlet.cutoff_A)) == as_keys(fresh)
        jumps = (followed.positions - atoms.positions) @ np.linalg.inv(complete_cell(atoms.cell.array, atoms.pbc))
        np.testing.assert_allclose(jumps, np.rint(jumps) * atoms.pbc, atol=1e-9)
        assert len(fresh) == len(find_pairs(structures, verlet.cutoff_A))


@pytest.mark.parametrize("name", ["hcp", "two atoms", "skewed", "slab", "wire", "cluster", "lone"])
def test_the_verlet_list_is_exact_while_atoms_and_cell_move(name: str) -> None:
    verlet = VerletList(5.0, 0.7)
    check_verlet(verlet, constant_pressure_walk(frames()[name], 40))
    assert verlet.calls == 40
    assert verlet.rebuilds < 25


def shrinking() -> list[Atoms]:
    atoms, walk = frames()["hcp"], []
    for k in range(30):
        walk.append(atoms.copy())
        walk[-1].set_cell(atoms.cell.array * (1 - 0.01 * k), scale_atoms=True)
    return walk


def jumping() -> list[Atoms]:
    walk = [frames()["hcp"] for _ in range(20)]
    for seed, atoms in enumerate(walk):
        atoms.positions += np.random.default_rng(seed).integers(-4, 5, size=(len(atoms), 3)) @ atoms.cell.array
    return walk


def others() -> list[Atoms]:
    """An atom less, then another boundary."""
    atoms, slab = frames()["hcp"], frames()["hcp"]
    slab.pbc = (True, True, False)
    return [atoms, atoms[1:], slab[1:]]


@pytest.mark.parametrize(
    ("walk", "skin_A", "least", "most"),
    [
        (shrinking(), 0.5, 3, 9),
        (jumping(), 1.0, 1, 1),
        (others(), 1.0, 3, 3),
        (constant_pressure_walk(frames()["hcp"], 5), 0.0, 5, 5),
    ],
    ids=["the cell alone shrinks", "atoms are wrapped", "other atoms or boundaries", "without a skin"],
)
def test_the_verlet_list_is_exact_and_rebuilt_only_where_it_must_be(
    walk: list[Atoms], skin_A: float, least: int, most: int
) -> None:
    verlet = VerletList(5.0, skin_A)
    check_verlet(verlet, walk)
    assert least <= verlet.rebuilds <= most


def test_atoms_brought_home_from_far_away_keep_the_digits_they_have_there() -> None:
    home = frames()["hcp"]
    far, verlet = home.copy(), VerletList(5.0, 0.5)
    far.positions += np.array([200_000, -70_000, 110_000]) @ home.cell.array
    verlet.update(Structures.from_atoms(far))
    structures = Structures.from_atoms(home)
    followed, pairs = verlet.update(structures)
    assert verlet.rebuilds == 1
    distances = np.sort(np.linalg.norm(pairs.vectors(followed), axis=1))
    expected = np.sort(np.linalg.norm(find_pairs(structures, 5.5).vectors(structures), axis=1))
    np.testing.assert_allclose(distances, expected, rtol=0, atol=1e-12)


def test_a_verlet_list_that_overlooks_strain_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.linalg, "svd", lambda matrix, **_: np.ones(3))
    with pytest.raises(AssertionError):
        check_verlet(VerletList(5.0, 0.5), shrinking())


@pytest.mark.parametrize("moved_A", [(0.405, 0.405), (0.6, 0.21), (0.81, 0.0)])
def test_two_atoms_that_approach_each_other_from_beyond_the_skin_are_found(moved_A: tuple[float, float]) -> None:
    # 5.71 Å apart when the list is made for 5.7 Å, 4.9 Å apart then: it is the sum of both paths that counts.
    walk = [Atoms("Ru3", [[0, 0, moved], [0, 0, 5.71 - other], [50, 0, 0]]) for moved, other in ((0, 0), moved_A)]
    verlet = VerletList(5.0, 0.7)
    check_verlet(verlet, walk)
    assert verlet.rebuilds == 2


def test_the_verlet_list_is_seldom_rebuilt() -> None:
    verlet, rng, atoms = VerletList(5.0, 1.0), np.random.default_rng(0), frames()["hcp"]
    for _ in range(100):
        verlet.update(Structures.from_atoms(rattled(atoms, seed=int(rng.integers(1000)), by_A=0.06)))
    assert verlet.rebuilds <= 2


class NeverRebuilt(VerletList):
    """Sabotage: forgets to ask whether the skin is used up."""

    def _followed(self, structures: Structures) -> Structures | None:
        old, self.skin_A = self.skin_A, 1e6
        followed = super()._followed(structures)
        self.skin_A = old
        return followed


class Unfollowed(VerletList):
    """Sabotage: does not follow atoms that were wrapped."""

    def _unwrapped(self, structures: Structures, moved: np.ndarray, stretch: float) -> Structures | None:
        return structures if super()._unwrapped(structures, moved, stretch) else None


@pytest.mark.parametrize("broken", [NeverRebuilt, Unfollowed])
def test_a_broken_verlet_list_is_noticed(broken: type[VerletList]) -> None:
    walk = constant_pressure_walk(frames()["hcp"], 40, kick_A=0.1)
    check_verlet(VerletList(5.0, 0.7), walk)
    with pytest.raises(AssertionError):
        check_verlet(broken(5.0, 0.7), walk)
