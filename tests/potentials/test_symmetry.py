"""Symmetry functions against TorchANI and a direct double loop, and that nothing singular is in them."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from checks import pairs_of, rattled
from conftest import hcp_cell

from ru_calc.potentials import Pairs
from ru_calc.potentials.symmetry import COSINE_SCALE, TILE, SymmetryFunctions, SymmetrySettings, Triples
from ru_calc.tables.smooth import envelope

SMALL = SymmetrySettings(
    radial_shells=3, radial_start_A=1.5, radial_eta=4.0, angular_cutoff_A=4.5, angular_shells=2, angular_start_A=1.75,
    angular_eta=2.0, angles=2, zeta=8,
)  # fmt: skip
CLUSTERS = {
    "kinked chain": [[0, 0, 0], [2.5, 0, 0], [4.9, 0, 0], [5.3, 2.2, 0.9]],
    "tetrahedron": [[0, 0, 0], [2.7, 0, 0], [1.3, 2.3, 0.1], [1.4, 0.8, 2.1]],
}
# torchani 2.9.0: AEVComputer(ANIRadial(4.0, R_k, 5.0), ANIAngular(2.0, 8, R_q, θ_z, 4.5), 1).double(), with its buffers
# R_k = 1.5, 8/3, 23/6 Å, R_q = 1.75, 3.125 Å and θ_z = π/4, 3π/4 set again in float64.  Columns: R_k, then (R_q, θ_z)
# with θ_z running fastest.
TORCHANI = {
    "kinked chain": [
        [0.002289454861, 0.1118549146, 0.0001046020804, 0, 0, 0, 0],
        [0.007492332171, 0.212529037, 0.0371227695, 0.002658654123, 0.0911591067, 0.07159833299, 0.1625654916],
        [0.009998907948, 0.2014899295, 7.856467975e-05, 0.02646078213, 0.07574952386, 0.02215354776, 0.0634191645],
        [0.004796031153, 0.1022446114, 0.03702504316, 0.002556486544, 7.984049713e-06, 0.07090706161, 0.0002214466985],
    ],
    "tetrahedron": [
        [0.0015354533, 0.3355855987, 0.001447817384, 0.1258630221, 0.003612116859, 0.4352395592, 0.01262499752],
        [0.001669976803, 0.3334170228, 0.00151208824, 0.1264928444, 0.003642133393, 0.4345459583, 0.01255997552],
        [0.003221627976, 0.3349197007, 0.0011129774, 0.1595092849, 0.006139807451, 0.4111325885, 0.01570789743],
        [0.003795285531, 0.3404075293, 0.0007713257974, 0.1798218489, 0.00844472931, 0.3943330035, 0.01828612468],
    ],
}


def cosine_cutoff(distances: torch.Tensor, cutoff_A: float) -> torch.Tensor:
    return torch.where(distances < cutoff_A, 0.5 + 0.5 * torch.cos(math.pi * distances / cutoff_A), 0.0)


def all_pairs(positions: np.ndarray | list, cutoff_A: float = 5.0) -> Pairs:
    """Pairs of a cluster, the farther atom first in every other one."""
    x = torch.tensor(np.array(positions), dtype=torch.float64)
    ends = torch.tensor(
        [p[:: (-1) ** k] for k, p in enumerate(combinations(range(len(x)), 2))], dtype=torch.int64
    ).reshape(-1, 2)
    ends = ends[(x[ends[:, 1]] - x[ends[:, 0]]).norm(dim=1) < cutoff_A]
    return Pairs(len(x), ends[:, 0], ends[:, 1], x[ends[:, 1]] - x[ends[:, 0]])


def like_torchani(settings: SymmetrySettings, positions: list) -> np.ndarray:
    """Our functions with TorchANI's cutoff, factor and order."""
    functions = SymmetryFunctions(settings)
    functions.cutoff = cosine_cutoff
    found = functions(all_pairs(positions))
    radial, angular = found.split([settings.radial_shells, settings.angles * settings.angular_shells], dim=1)
    angular = angular.view(-1, settings.angles, settings.angular_shells).transpose(1, 2).flatten(1)
    return torch.cat([0.25 * radial, angular], dim=1).numpy()


def by_loops(settings: SymmetrySettings, positions: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """The equations at the top of `symmetry.py`, over all images of all atoms."""

    def fade(r: float, cutoff_A: float) -> float:
        return float(envelope(torch.tensor(r, dtype=torch.float64), cutoff_A, settings.switch_A))

    s, rows = settings, []
    radial = s.radial_start_A + np.arange(s.radial_shells) * (s.cutoff_A - s.radial_start_A) / s.radial_shells
    shells = (
        s.angular_start_A + np.arange(s.angular_shells) * (s.angular_cutoff_A - s.angular_start_A) / s.angular_shells
    )
    angles = np.pi * (np.arange(s.angles) + 0.5) / s.angles
    for center in positions:
        legs = (positions[None] + cells[:, None] - center).reshape(-1, 3)
        legs = [leg for leg in legs if 0 < np.linalg.norm(leg) < s.cutoff_A]
        g = sum(np.exp(-s.radial_eta * (np.linalg.norm(v) - radial) ** 2) * fade(np.linalg.norm(v), 5.0) for v in legs)
        a = np.zeros((s.angles, s.angular_shells))
        for v, w in combinations([leg for leg in legs if np.linalg.norm(leg) < s.angular_cutoff_A], 2):
            r, q = np.linalg.norm(v), np.linalg.norm(w)
            theta = np.arccos(COSINE_SCALE * (v @ w) / (r * q))
            bend = 2.0 ** (1 - s.zeta) * (1 + np.cos(theta - angles)) ** s.zeta
            stretch = np.exp(-s.angular_eta * ((r + q) / 2 - shells) ** 2)
            a += np.outer(bend, stretch) * fade(r, s.angular_cutoff_A) * fade(q, s.angular_cutoff_A)
        rows.append(np.concatenate([g, a.ravel()]))
    return np.array(rows)


@pytest.mark.parametrize("name", list(CLUSTERS))
def test_functions_are_torchanis_with_the_cosine_cutoff(name: str) -> None:
    np.testing.assert_allclose(like_torchani(SMALL, CLUSTERS[name]), TORCHANI[name], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("settings", [SMALL, SymmetrySettings()])
def test_functions_are_a_double_loop_over_the_neighbours(settings: SymmetrySettings) -> None:
    atoms = rattled(hcp_cell())
    found = SymmetryFunctions(settings)(pairs_of(atoms, settings.cutoff_A)).detach().numpy()
    images = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), axis=-1).reshape(-1, 3) @ atoms.cell.array
    expected = by_loops(settings, atoms.positions, images)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found, by_loops(settings, atoms.positions, 1.001 * images), rtol=1e-9, atol=1e-12)


def test_triples_are_each_pair_of_near_neighbours_once_and_tiles_belong_to_one_atom() -> None:
    positions = np.random.default_rng(0).uniform(0, 5.0, (12, 3))
    pairs = all_pairs(positions, 9.0)
    triples = Triples.of(pairs, 4.0)
    center = torch.cat([pairs.first, pairs.second])[triples.near]
    other = torch.cat([pairs.second, pairs.first])[triples.near]
    found = []
    for row, (a, b) in enumerate(triples.legs.T.tolist()):
        assert (a == len(triples.near)) == (b == len(triples.near))
        if a < len(triples.near):
            assert center[a] == center[b] == triples.owner[row // TILE]
            found.append((int(center[a]), *sorted((int(other[a]), int(other[b])))))
    distances = np.linalg.norm(positions[:, None] - positions, axis=2)
    expected = [
        (i, j, k)
        for i in range(12)
        for j, k in combinations(np.flatnonzero((distances[i] < 4.0) & (np.arange(12) != i)).tolist(), 2)
    ]
    assert len(expected) > TILE
    assert sorted(found) == expected


@pytest.mark.parametrize("n_atoms", [0, 1, 2])
def test_fewer_than_three_atoms_have_no_angles(n_atoms: int) -> None:
    found = SymmetryFunctions(SMALL)(all_pairs(2.5 * np.eye(3)[:n_atoms]))
    assert found.shape == (n_atoms, 7)
    assert not found[:, 3:].any()
    assert bool(found[:, :3].any()) == (n_atoms > 1)


@pytest.mark.parametrize("angle_deg", [180.0, 0.0])
def test_second_derivatives_are_finite_and_right_where_three_atoms_lie_in_a_line(angle_deg: float) -> None:
    far = 4.3 if angle_deg == 0.0 else -2.1
    pairs = all_pairs([[0, 0, 0], [2.2, 0, 0], [far, 0, 0]])
    functions, weights = SymmetryFunctions(SMALL), torch.linspace(-1, 1, 7, dtype=torch.float64)

    def energy(vectors: torch.Tensor) -> torch.Tensor:
        return functions(Pairs(3, pairs.first, pairs.second, vectors)).sum(dim=0) @ weights

    vectors = pairs.vectors.requires_grad_(True)
    assert torch.autograd.gradcheck(energy, vectors)
    assert torch.autograd.gradgradcheck(energy, vectors)


def test_the_cosine_cutoff_has_a_curvature_where_ours_has_none() -> None:
    def curvature() -> float:
        r = torch.tensor([[5.0 - 1e-6, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
        value = functions.radial(Pairs(2, torch.tensor([0]), torch.tensor([1]), r))
        (slope,) = torch.autograd.grad(value.sum(), r, create_graph=True)
        return float(torch.autograd.grad(slope[0, 0], r)[0][0, 0])

    functions = SymmetryFunctions(SymmetrySettings())
    assert abs(curvature()) < 1e-3
    functions.cutoff = cosine_cutoff
    assert curvature() > 0.1
