"""What is particular to SchNet: its angular embedding, its zero of energy, and the paper's network beside it."""

import numpy as np
import torch
from ase import Atoms
from checks import evaluator, fan, pairs_of
from conftest import small_model

from ru_calc.potentials.paper import PaperSchNet, PaperSettings
from ru_calc.potentials.schnet import SchNet


def test_angular_embedding_sees_angles_and_plain_schnet_does_not():
    def difference(model: SchNet) -> float:
        """Of the centre's energies, where every atom has the same distances within 5 Å, but other angles."""
        square, bent = (pairs_of(fan(3.0, *angles), 3.1) for angles in ((0, 90, 180, 270), (0, 60, 150, 240)))
        return abs(float((model.atomic_energies(square) - model.atomic_energies(bent))[0].detach()))

    assert difference(small_model()) > 1e-4
    assert difference(small_model(angular=False, blocks=1)) < 1e-12


def test_energies_are_smooth_where_an_atom_leaves():
    """The layer norm must not turn vanishing messages into finite ones."""
    evaluate = evaluator(small_model())
    near, at, beyond = (evaluate(Atoms("Ru2", [[0, 0, 0], [gap, 0, 0]])).energy[0] for gap in (4.999, 5.0, 5.1))
    assert abs(near - at) < 1e-8 and at == beyond


def test_paper_network_has_the_papers_parts():
    network = PaperSchNet(PaperSettings())
    kinds = [type(m).__name__ for m in network.modules()]
    assert kinds.count("PaperBlock") == 3 and kinds.count("BatchNorm1d") == 6 and kinds.count("Dropout") == 4
    assert network.force_pathway[-1].out_features == 2 and network.energy_pathway[-1].out_features == 1
    assert not network.conservative


def test_paper_forces_lie_in_the_plane_of_two_principal_components(rattled_hcp):
    torch.manual_seed(0)
    network = PaperSchNet(PaperSettings(channels=16, pathway=(8, 4)))
    prediction = evaluator(network)(rattled_hcp)
    assert np.linalg.matrix_rank(prediction.forces, tol=1e-9) == 2 and prediction.stress is None
