"""Batches: every frame once, within the bounds, well filled, and drawn by seed and epoch alone."""

import numpy as np
import pytest
from labelled import lj_frames

from ru_calc.dataset import Dataset
from ru_calc.fit.batches import PackedFrames, pack
from ru_calc.fit.settings import FitSettings


@pytest.fixture(scope="module")
def frames() -> PackedFrames:
    return PackedFrames(Dataset.from_atoms(lj_frames(60)), 5.0)


def sizes_like_the_shipped_set(count: int = 1000) -> np.ndarray:
    """Frames of 1 to 65 atoms with 10 to 1300 pairs."""
    rng = np.random.default_rng(3)
    atoms = rng.choice([1, 2, 4, 12, 16, 32, 54, 65], count)
    return np.stack([np.ones(count, np.int64), atoms, rng.integers(10, 20, count) * atoms], axis=1)


@pytest.mark.parametrize("open_batches", [1, 16])
@pytest.mark.parametrize("bounds", [(0, 0, 780), (0, 64, 0), (5, 0, 0), (4, 60, 700)])
def test_every_frame_comes_once_and_bounds_are_kept(bounds, open_batches):
    sizes = sizes_like_the_shipped_set()
    order = np.random.default_rng(0).permutation(len(sizes))
    batches = pack(order, sizes, bounds, open_batches)
    assert sorted(np.concatenate(batches)) == list(range(len(sizes)))
    limits = np.array([bound or np.inf for bound in bounds])
    assert all((sizes[batch].sum(axis=0) <= limits).all() or len(batch) == 1 for batch in batches)
    assert any(len(batch) > 1 for batch in batches)


def test_a_frame_beyond_the_bound_comes_alone():
    sizes = np.array([[1, 2, 100], [1, 9, 2000], [1, 2, 100]])
    batches = pack(np.arange(3), sizes, (0, 0, 780), 4)
    assert sorted(map(tuple, batches)) == [(0, 2), (1,)]


def test_open_batches_are_filled_almost_to_the_bound():
    sizes = sizes_like_the_shipped_set()
    order = np.random.default_rng(0).permutation(len(sizes))

    def filled(open_batches):
        pairs = [sizes[batch].sum(axis=0)[2] for batch in pack(order, sizes, (0, 0, 2000), open_batches)]
        return np.mean(pairs) / 2000

    assert filled(1) < 0.85 and filled(16) > 0.98


def test_one_open_batch_ends_at_the_first_frame_that_does_not_fit():
    atoms = np.array([40, 30, 20, 10, 60, 4, 5])
    sizes = np.stack([np.ones(7, np.int64), atoms, 15 * atoms], axis=1)
    order = np.array([6, 1, 2, 4, 3, 0, 5])
    assert [batch.tolist() for batch in pack(order, sizes, (0, 64, 0))] == [[6, 1, 2], [4], [3, 0, 5]]


def test_batches_depend_on_seed_and_epoch_alone(frames):
    def drawn(epoch, seed=0):
        settings = FitSettings(batch_pairs=200, seed=seed)
        return [batch.tolist() for batch in frames.batches(settings, epoch)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4) and drawn(3) != drawn(3, seed=1)
    assert sorted(k for batch in drawn(3) for k in batch) == list(range(60))


def test_open_batches_make_fewer_batches(frames):
    one, many = (len(frames.batches(FitSettings(batch_pairs=200, open_batches=n), 0)) for n in (1, 16))
    assert many < 0.9 * one


def test_frames_that_fit_badly_do_not_all_come_at_the_end(frames):
    """What is closed last is less full; the batches are shuffled, so that no part of an epoch is of its own kind."""
    settings = FitSettings(batch_pairs=200, open_batches=16)
    place = []
    for epoch in range(40):
        batches = frames.batches(settings, epoch)
        emptiest = int(np.argmin([frames.pair_counts[batch].sum() for batch in batches]))
        place.append(emptiest / (len(batches) - 1))
    assert 0.3 < np.mean(place) < 0.7


def test_without_an_epoch_frames_stay_in_order(frames):
    batches = frames.batches(FitSettings(batch_pairs=200))
    assert len(batches) > 5 and np.concatenate(batches).tolist() == list(range(60))


def test_settings_of_earlier_fits_draw_the_batches_of_then(frames):
    """Shuffled, and cut where the next frame has no room: a fit that goes on must not change its course."""
    settings = FitSettings(batch_frames=0, batch_atoms=9, batch_pairs=0, open_batches=1, seed=5)
    order = np.random.default_rng([5, 2]).permutation(60)
    expected, atoms = [[]], 0
    for k in order:
        if expected[-1] and atoms + frames.counts[k] > 9:
            expected.append([])
            atoms = 0
        expected[-1].append(k)
        atoms += frames.counts[k]
    assert [batch.tolist() for batch in frames.batches(settings, 2)] == expected
