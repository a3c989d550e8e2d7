"""The graph network: its convolution against matrices, and how far it sees."""

import numpy as np
import pytest
import torch
from ase import Atoms
from checks import evaluator, pairs_of, rattled, small_potential

from ru_calc.potentials.gnn import Edges, GNNSettings, GraphConvolution
from ru_calc.potentials.pairs import Pairs


def graph(seed: int = 0) -> tuple[Pairs, torch.Tensor, torch.Tensor]:
    """Six atoms, two of them joined by two images and one alone, with weights of three kernels on the edges."""
    random = np.random.default_rng(seed)
    first, second = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 2, 2, 2, 3, 4])
    vectors = torch.from_numpy(random.normal(size=(6, 3)))
    fade = torch.from_numpy(random.uniform(0.1, 1.0, (6, 1)))
    gaussians = torch.from_numpy(random.uniform(size=(6, 3))) * fade
    return Pairs(6, torch.from_numpy(first), torch.from_numpy(second), vectors), gaussians, fade


def by_matrices(
    layer: GraphConvolution, x: np.ndarray, pairs: Pairs, gaussians: np.ndarray, fade: np.ndarray
) -> np.ndarray:
    """x + silu(W₀ x + b + Σ_k (D^-½ A_k D^-½ x) W_k), with D the row sums of 1 + A and every A a full matrix."""
    first, second = pairs.first.numpy(), pairs.second.numpy()

    def matrix(values: np.ndarray) -> np.ndarray:
        full = np.zeros((pairs.n_atoms, pairs.n_atoms))
        np.add.at(full, (first, second), values)
        return full + full.T

    root = np.diag((1 + matrix(fade[:, 0]).sum(axis=1)) ** -0.5)
    own, bias, neighbors = (p.detach().numpy() for p in (layer.own.weight, layer.own.bias, layer.neighbors.weight))
    y = x @ own.T + bias
    for k, weight in enumerate(np.split(neighbors, gaussians.shape[1], axis=1)):
        y += root @ matrix(gaussians[:, k]) @ root @ x @ weight.T
    return x + y / (1 + np.exp(-y))


def test_a_convolution_is_a_product_with_adjacency_matrices():
    torch.manual_seed(0)
    layer = GraphConvolution(GNNSettings(n_radial=3, channels=4)).double()
    pairs, gaussians, fade = graph()
    x = torch.randn(6, 4, dtype=torch.float64)
    expected = by_matrices(layer, x.numpy(), pairs, gaussians.numpy(), fade.numpy())
    found = layer(x, Edges.of(pairs, gaussians, fade))
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-12)
    unweighted = Edges.of(pairs, gaussians, torch.zeros_like(fade))
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(layer(x, unweighted).detach().numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_each_convolution_lets_an_atom_see_one_neighbour_further(blocks):
    potential = small_potential("gnn", blocks=blocks, channels=8, readout=(8,))
    chain = Atoms("Ru5", [[3.5 * k, 0, 0] for k in range(5)])
    moved = chain.copy()
    moved.positions[4, 0] += 0.3
    evaluate = evaluator(potential)
    change = np.abs(evaluate(moved).energies - evaluate(chain).energies)
    sees = change > 1e-10
    assert sees.tolist() == [k >= 3 - blocks for k in range(5)]


def test_a_loss_on_forces_reaches_every_weight():
    potential = small_potential("gnn", channels=8, readout=(8,), n_radial=4, l_max=2)
    atoms = rattled(Atoms("Ru4", [[0, 0, 0], [2.5, 0, 0], [0, 2.6, 0], [1.2, 1.3, 2.2]]))
    pairs = pairs_of(atoms)
    (slope,) = torch.autograd.grad(potential.atomic_energies(pairs).sum(), pairs.vectors, create_graph=True)
    slope.square().sum().backward()
    # The last bias shifts every energy alike, and the lone atom's with them.
    for name, parameter in potential.named_parameters():
        if name != "energy.2.bias":
            assert torch.isfinite(parameter.grad).all() and float(parameter.grad.abs().max()) > 0, name
