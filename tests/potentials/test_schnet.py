"""What is particular to SchNet: its angular embedding, its zero of energy, and the paper's network beside it."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from conftest import small_model

from ru_calc.errors import ModelError, SettingsError
from ru_calc.potentials import build_potential
from ru_calc.potentials.derivatives import Reference
from ru_calc.potentials.paper import PaperSchNet, PaperSettings
from ru_calc.potentials.schnet import SchNetSettings
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs


def energy(model, atoms) -> float:
    structures = Structures.from_atoms(atoms)
    return float(Reference(model).predict(structures, find_pairs(structures, model.cutoff_A), ("energy",)).energy[0])


def same_distances() -> tuple:
    """Two clusters in which every atom sees the same distances within 5 Å, but other angles."""
    from ase import Atoms

    r = 3.0
    square = Atoms("Ru5", [[0, 0, 0], [r, 0, 0], [-r, 0, 0], [0, r, 0], [0, -r, 0]])
    angles = np.deg2rad([0, 60, 150, 240])
    bent = Atoms("Ru5", [[0, 0, 0], *[[r * np.cos(t), r * np.sin(t), 0] for t in angles]])
    return square, bent


def center_features(model, atoms):
    structures = Structures.from_atoms(atoms)
    pairs = find_pairs(structures, 3.1)  # bonds to the centre only
    from ru_calc.potentials.derivatives import Batch
    from ru_calc.potentials.pairs import Pairs

    batch = Batch.from_structures(structures, pairs, torch.float64)
    return float(model.atomic_energies(Pairs(len(atoms), batch.first, batch.second, batch.vectors))[0].detach())


def test_angular_embedding_sees_angles_and_plain_schnet_does_not():
    square, bent = same_distances()
    angular, plain = small_model(), small_model(angular=False, blocks=1)
    assert abs(center_features(angular, square) - center_features(angular, bent)) > 1e-4
    assert abs(center_features(plain, square) - center_features(plain, bent)) < 1e-12


def test_lone_atom_has_the_energy_of_the_settings(frames):
    assert energy(small_model(), frames["lone"]) == pytest.approx(-2.0853, abs=1e-12)


def test_core_repels_at_half_an_angstrom(frames):
    close = frames["dimer"].copy()
    close.set_distance(0, 1, 0.5)
    assert energy(small_model(), close) > 500


def test_energies_are_smooth_where_an_atom_leaves():
    """The layer norm must not turn vanishing messages into finite ones."""
    model = small_model()
    base = bulk("Ru", "fcc", a=3.8)
    base.pbc = False
    values = []
    for gap in (4.9, 4.99, 4.999, 5.0, 5.1):
        pair = base + base
        pair.positions[1] = [gap, 0, 0]
        values.append(energy(model, pair))
    assert abs(values[2] - values[3]) < 1e-8 and values[3] == values[4]


@pytest.mark.parametrize("wrong", [{"switch_A": 6.0}, {"channels": 1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        SchNetSettings(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"l_max": 0}, {"blocks": -1}, {"triple": -1}, {"readout": (4, 0)}, {"spline_intervals": -1}]
)
def test_sizes_below_the_least_are_refused(wrong):
    with pytest.raises(SettingsError, match=f"{next(iter(wrong))} is .* must be at least"):
        SchNetSettings(**wrong)


@pytest.mark.parametrize("intervals", [1, 15])
def test_tables_too_coarse_for_anything_are_refused(intervals):
    with pytest.raises(SettingsError, match=rf"spline_intervals is {intervals}; .* 0 \(no tables\) or at least 16"):
        SchNetSettings(spline_intervals=intervals)
    assert [SchNetSettings(spline_intervals=n).spline_intervals for n in (0, 16)] == [0, 16]


def test_unknown_family_and_hyperparameter_are_refused():
    with pytest.raises(ModelError, match="schnett"):
        build_potential("schnett", {})
    with pytest.raises(ModelError, match="widths"):
        build_potential("schnet", {"widths": 3})


def test_paper_network_has_the_papers_parts():
    network = PaperSchNet(PaperSettings())
    kinds = [type(m).__name__ for m in network.modules()]
    assert kinds.count("PaperBlock") == 3 and kinds.count("BatchNorm1d") == 6 and kinds.count("Dropout") == 4
    assert network.force_pathway[-1].out_features == 2 and network.energy_pathway[-1].out_features == 1
    assert not network.conservative


def test_paper_forces_lie_in_the_plane_of_two_principal_components(rattled_hcp):
    torch.manual_seed(0)
    network = PaperSchNet(PaperSettings(channels=16, pathway=(8, 4)))
    structures = Structures.from_atoms(rattled_hcp)
    prediction = Reference(network).predict(structures, find_pairs(structures, 5.0))
    assert np.linalg.matrix_rank(prediction.forces, tol=1e-9) == 2 and prediction.stress is None
