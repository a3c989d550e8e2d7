"""The `paper` protocol: its parts against outside formulas, the whole on few frames, and its folder."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from labelled import lj_frames, quiet

from ru_calc.dataset import Dataset, read_dataset
from ru_calc.errors import DataError, RuCalcError, SettingsError
from ru_calc.fit.trainer import part_rates
from ru_calc.potentials.pairs import Pairs
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs
from ru_calc.studies.paper import descriptors, report
from ru_calc.studies.paper import run as running
from ru_calc.studies.paper.components import PrincipalAxes, Scales
from ru_calc.studies.paper.descriptors import cached_soap_vectors, soap_vectors
from ru_calc.studies.paper.networks import GraphConvolutions, SchNet, build_network, largest_around
from ru_calc.studies.paper.report import errors_of, markdown
from ru_calc.studies.paper.run import run_paper
from ru_calc.studies.paper.settings import SPLITS, STEPWISE, TABLE_1, PaperProtocol, SoapSettings
from ru_calc.studies.paper.training import Training, schedule

SHORT = PaperProtocol(families=("KAN", "SchNet"), epochs=4, batch_atoms=6, accumulate=3)


def stand_in(structures: Structures, settings: SoapSettings) -> np.ndarray:
    """Sums of Gaussians of the distance: descriptors that need no other package."""
    pairs = find_pairs(structures, 5.0)
    distances = np.linalg.norm(pairs.vectors(structures), axis=1)
    values = np.exp(-((distances[:, None] - np.linspace(2.0, 5.0, 6)) ** 2))
    sums = np.zeros((structures.n_atoms, 6))
    for ends in (pairs.first, pairs.second):
        np.add.at(sums, ends, values)
    return sums.astype(np.float32)


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """No DScribe, no figure."""
    monkeypatch.setattr(descriptors, "soap_vectors", stand_in)
    monkeypatch.setattr(running, "require_dscribe", lambda: None)
    monkeypatch.setattr(report, "draw", lambda results, path: None)


@pytest.fixture
def dataset() -> Dataset:
    return Dataset.from_atoms(lj_frames(24))


def pairs_of(atoms: Atoms) -> Pairs:
    structures = Structures.from_atoms(atoms)
    found = find_pairs(structures, 5.0)
    first, second, vectors = map(torch.from_numpy, (found.first, found.second, found.vectors(structures)))
    return Pairs(len(atoms), first, second, vectors)


def test_principal_axes_are_those_of_the_singular_value_decomposition() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 5)) @ (rng.normal(size=(5, 5)) * [3.0, 2.0, 1.0, 0.2, 0.1]) + rng.normal(size=5)
    axes = PrincipalAxes.of(values, 0.95)
    left, singular, right = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    shares = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(axes.shares, shares, rtol=1e-9)
    assert len(axes) == next(k for k in range(1, 6) if shares[:k].sum() >= 0.95)
    np.testing.assert_allclose(np.abs(axes.axes), np.abs(right[: len(axes)]), atol=1e-9)
    np.testing.assert_allclose(np.abs(axes(values)), np.abs(left[:, : len(axes)]) * np.sqrt(299), atol=1e-9)
    np.testing.assert_allclose(np.cov(axes(values).T), np.eye(len(axes)), atol=1e-9)


def test_as_many_axes_as_asked_for_but_none_without_variance() -> None:
    values = np.random.default_rng(1).normal(size=(50, 3)) * [10.0, 1.0, 0.0]
    assert len(PrincipalAxes.of(values, 0.95)) == 1
    assert len(PrincipalAxes.of(values, 0.95, least=3)) == 2
    with pytest.raises(DataError, match="do not vary"):
        PrincipalAxes.of(np.ones((5, 2)), 0.95)


def test_scales_are_those_of_the_training_frames_alone(dataset: Dataset) -> None:
    vectors = stand_in(dataset.structures, SoapSettings())
    frames = np.arange(16)
    train, own = running._chosen(dataset, vectors, frames)
    scales = Scales.of(train, own, SHORT)
    targets, inputs = scales.targets(train), scales.descriptors(own)
    for values in (targets, inputs):
        np.testing.assert_allclose(values.mean(axis=0), 0.0, atol=1e-6)
        np.testing.assert_allclose(values.std(axis=0, ddof=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(
        targets[:, 0] * scales.energy_spread_eV + scales.energy_mean_eV,
        np.repeat(train.energy / train.structures.counts, train.structures.counts),
    )
    np.testing.assert_allclose(
        (targets[:, 1:] * scales.forces.spreads) @ scales.forces.axes + scales.forces.mean, train.forces, atol=1e-9
    )
    everything = Scales.of(dataset, vectors, SHORT)
    assert not np.allclose(everything.targets(train).std(axis=0, ddof=1), 1.0, rtol=1e-3)


@pytest.mark.parametrize("name", ["slab", "wire", "cluster", "dimer", "lone", "one_atom_cell", "sheared", "rattled"])
def test_soap_vectors_are_those_of_a_cluster_of_all_images(frames: dict[str, Atoms], name: str) -> None:
    dscribe = pytest.importorskip("dscribe.descriptors", reason="dscribe is not installed")
    atoms = frames[name]
    images = itertools.product(*(range(-5, 6) if periodic else (0,) for periodic in atoms.pbc))
    positions = np.concatenate([atoms.positions + np.array(image) @ atoms.cell.array for image in images])
    soap = dscribe.SOAP(species=["Ru"], r_cut=5.0, n_max=8, l_max=6, sigma=0.5, periodic=False)
    expected = soap.create(Atoms(f"Ru{len(positions)}", positions), centers=atoms.positions.tolist())
    found = soap_vectors(Structures.from_atoms(atoms), SoapSettings())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_soap_vectors_are_computed_once(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(structures: Structures, settings: SoapSettings) -> np.ndarray:
        calls.append(settings)
        return stand_in(structures, settings)

    monkeypatch.setattr(descriptors, "soap_vectors", counted)
    path = tmp_path / "v.npz"
    first = cached_soap_vectors(dataset, SoapSettings(), path)
    assert np.array_equal(cached_soap_vectors(dataset, SoapSettings(), path), first) and len(calls) == 1
    cached_soap_vectors(dataset, SoapSettings(n_max=4), path)
    cached_soap_vectors(dataset.select(range(20)), SoapSettings(n_max=4), path)
    assert len(calls) == 3
    path.write_bytes(path.read_bytes()[:500])
    cached_soap_vectors(dataset, SoapSettings(), path)
    assert len(calls) == 4


def test_without_dscribe_the_way_out_is_named(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'ru-calc\[compare\]'"):
        run_paper(dataset, tmp_path / "run", SHORT, say=quiet)
    assert not (tmp_path / "run").exists()


def test_graph_convolution_is_that_of_kipf_and_welling(rattled_hcp: Atoms) -> None:
    torch.manual_seed(0)
    pairs = pairs_of(rattled_hcp)
    network = GraphConvolutions(3, 4, channels=5, convolutions=1).double()
    x = torch.randn(len(rattled_hcp), 3, dtype=torch.float64)
    adjacency = torch.eye(len(rattled_hcp), dtype=torch.float64)
    for i, j in zip(pairs.first, pairs.second, strict=True):
        adjacency[i, j] += 1
        adjacency[j, i] += 1
    degree = adjacency.sum(dim=1)
    normal = adjacency / torch.sqrt(degree[:, None] * degree)
    (linear,) = network.convolutions
    hidden = torch.relu(normal @ x @ linear.weight.T + linear.bias)
    pooled = torch.stack([hidden[adjacency[i] > 0].max(dim=0).values for i in range(len(x))])
    torch.testing.assert_close(network(x, pairs), network.readout(pooled))


def test_an_atom_without_neighbours_is_its_own_largest() -> None:
    x = torch.tensor([[1.0, 5.0], [2.0, 4.0], [-7.0, -8.0]])
    empty = torch.zeros(0, dtype=torch.int64)
    assert torch.equal(largest_around(x, Pairs(3, empty, empty, torch.zeros(0, 3))), x)
    one = torch.tensor([0]), torch.tensor([1])
    expected = torch.tensor([[2.0, 5.0], [2.0, 5.0], [-7.0, -8.0]])
    assert torch.equal(largest_around(x, Pairs(3, *one, torch.ones(1, 3))), expected)


@pytest.mark.parametrize("family", [*TABLE_1, STEPWISE])
def test_networks_give_every_atom_an_energy_and_force_components(family: str, rattled_hcp: Atoms) -> None:
    torch.manual_seed(0)
    pairs = pairs_of(rattled_hcp)
    network = build_network(family, 3, 4, 5.0)
    found = network(torch.randn(16, 3), replace(pairs, vectors=pairs.vectors.float()))
    assert found.shape == (16, 4) and found.isfinite().all()
    found.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_schnet_is_trained_as_the_paper_says() -> None:
    protocol = PaperProtocol()
    s = schedule("SchNet", protocol, 3)
    assert (s.rate_embedding, s.rate_blocks, s.rate_readout, s.weight_decay) == (1e-5, 2e-5, 5e-5, 1e-4)
    assert (s.epochs, s.batch_atoms, s.batch_frames, s.accumulate) == (100, 2048, 0, 24)
    assert (s.clip_norm, s.warmup, s.final_rate, s.ramp) == (0.01, 0.2, 0.0, (0.5, 1.0))
    assert s.weights(0.5) == {"energy": 1.0, "forces": 0.0, "stress": 0.0}
    assert s.weights(1.0) == {"energy": 0.75, "forces": 0.5, "stress": 0.0}
    groups = {group["lr"]: len(group["params"]) for group in part_rates([SchNet(3, 3, 5.0)], s)}
    assert groups == {1e-5: 6, 2e-5: 3 * 12, 5e-5: 2 * 10}
    assert schedule(STEPWISE, protocol, 3) == replace(s, accumulate=1)


@pytest.mark.parametrize("family", ["KAN", "ANI", "GNN", "CalHousNet"])
def test_the_others_are_trained_by_adam_on_the_mean_over_all_targets(family: str) -> None:
    s = schedule(family, PaperProtocol(), 4)
    assert {group["lr"] for group in part_rates([build_network(family, 3, 4, 5.0)], s)} == {1e-3}
    assert (s.weight_decay, s.accumulate, s.patience) == (0.0, 1, 20)
    assert s.weights(0.0) == s.weights(1.0) == {"energy": 0.25, "forces": 0.75, "stress": 0.0}


def test_errors_are_over_all_targets_and_apart() -> None:
    found = errors_of(np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), np.zeros((2, 3)))
    assert found == {
        "mae": 0.5, "mse": pytest.approx(5 / 6), "energy_mae": 0.5, "energy_mse": 0.5, "forces_mae": 0.5,
        "forces_mse": 1.0,
    }  # fmt: skip


def test_a_quick_run_fills_the_table(tmp_path: Path) -> None:
    pytest.importorskip("dscribe", reason="dscribe is not installed")
    results = run_paper(read_dataset("distilled"), tmp_path, PaperProtocol(quick=True), say=quiet)
    assert list(results["rows"]) == list(TABLE_1)
    assert results == json.loads((tmp_path / "results.json").read_text())
    for row in [*results["rows"].values(), results["mean"]]:
        for part in SPLITS:
            assert len(row["errors"][part]) == 6 and np.isfinite(list(row["errors"][part].values())).all()
    page = (tmp_path / "table.md").read_text()
    for name in (*TABLE_1, "mean of the training targets"):
        assert page.count(f"\n| {name} |") >= 2
    assert "the figures mean nothing" in page and "(0.79)" in page and "nan" not in page
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    # Scaled by the training targets, their mean has this error on them and another elsewhere.
    atoms, mean = results["data"]["atoms"], results["mean"]["errors"]
    assert mean["train"]["mse"] == pytest.approx(1 - 1 / atoms["train"], rel=1e-5)
    assert abs(mean["test"]["mse"] - 1) > 0.01 and sum(results["data"]["frames"].values()) == 60


def test_figures_of_the_reading_come_from_the_results(dataset: Dataset, tmp_path: Path, light: None) -> None:
    results = run_paper(dataset, tmp_path, replace(SHORT, epochs=1), say=quiet)
    assert f"forces MSE of {results['mean']['errors']['test']['forces_mse']:.3f}" in results["reading"]
    assert f"SchNet's optimiser made {results['rows']['SchNet']['steps']} steps" in results["reading"]
    energy = f"{results['components']['energy_unit_eV_per_atom']:.3g} eV per atom"
    assert energy in results["reading"] and energy in markdown(results)


STEP = Training._step


class Killed(Exception):
    pass


def dying(self, *args):
    """Training's step, but the second of SchNet's third epoch."""
    done = self.progress.rows[-1]["batches"] if self.progress.rows else 0
    if self.accumulate > 1 and self.progress.epoch == 2 and self.counts.batches == done + 1:
        raise Killed
    return STEP(self, *args)


def broken_then_resumed(dataset: Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """A run that was killed in SchNet's third epoch and went on."""
    monkeypatch.setattr(running, "SAVE_EVERY_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "_step", dying)
        with pytest.raises(Killed):
            run_paper(dataset, folder, SHORT, say=quiet)
    assert {path.name for path in (folder / "rows").iterdir()} == {"KAN.json", "SchNet.safetensors"}
    before = (folder / "rows" / "KAN.json").stat().st_mtime_ns
    results = run_paper(dataset, folder, SHORT, say=quiet, resume=True)
    assert (folder / "rows" / "KAN.json").stat().st_mtime_ns == before
    return results


def without_times(results: dict) -> dict:
    rows = results["rows"]
    for row in rows.values():
        for entry in (row, *row["history"]):
            entry.pop("cpu_s", None)
    return rows


def test_a_killed_run_resumes_to_the_numbers_of_an_unbroken_one(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, light: None
) -> None:
    whole = run_paper(dataset, tmp_path / "whole", SHORT, say=quiet)
    resumed = broken_then_resumed(dataset, tmp_path / "broken", monkeypatch)
    assert without_times(resumed) == without_times(whole)
    assert resumed["rows"]["SchNet"]["steps"] > 4


@pytest.mark.parametrize("part", ["optimizer", "gradient", "best"])
def test_a_state_that_forgets_something_shows(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, light: None, part: str
) -> None:
    """Sabotage of the test above."""
    whole = run_paper(dataset, tmp_path / "whole", SHORT, say=quiet)
    original = Training.load

    def forgetful(self, path):
        original(self, path)
        if part == "optimizer":
            self.optimizer.state.clear()
        elif part == "gradient":
            self.optimizer.zero_grad()
        else:
            self.best = {name: torch.zeros_like(value) for name, value in self.best.items()}
            self.progress.best_loss = 0.0

    monkeypatch.setattr(Training, "load", forgetful)
    resumed = broken_then_resumed(dataset, tmp_path / "broken", monkeypatch)
    assert without_times(resumed) != without_times(whole)


def test_a_state_holds_all_that_the_next_epoch_depends_on(dataset: Dataset, tmp_path: Path) -> None:
    vectors = stand_in(dataset.structures, SoapSettings())
    scales = Scales.of(dataset, vectors, SHORT)
    part = running._part(dataset, vectors, np.arange(24), scales, SHORT)
    before, after = (Training("SchNet", SHORT, part, part) for _ in range(2))
    before.run_epoch()
    before.best = {name: value + 1 for name, value in before.best.items()}
    before.save(tmp_path / "state.safetensors")
    after.load(tmp_path / "state.safetensors")
    assert (after.progress, after.counts) == (before.progress, before.counts)
    for mine, other in ((after.best, before.best), (after.network.state_dict(), before.network.state_dict())):
        assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in other)
    for mine, other in zip(after.network.parameters(), before.network.parameters(), strict=True):
        assert (mine.grad is None) == (other.grad is None)
        assert mine.grad is None or torch.equal(mine.grad, other.grad)
        moments = after.optimizer.state[mine], before.optimizer.state[other]
        assert moments[0].keys() == moments[1].keys()
        assert all(torch.equal(moments[0][key], moments[1][key]) for key in moments[1])
    (tmp_path / "state.safetensors").write_bytes(b"half")
    with pytest.raises(RuCalcError, match="not a whole training state"):
        after.load(tmp_path / "state.safetensors")


def test_a_folder_is_gone_on_with_only_if_it_is_of_the_same_run(dataset: Dataset, tmp_path: Path, light: None) -> None:
    protocol = replace(SHORT, families=("calhousnet",), epochs=1)
    assert protocol.families == ("CalHousNet",)
    run_paper(dataset, tmp_path / "run", protocol, say=quiet)
    with pytest.raises(SettingsError, match="already holds a comparison"):
        run_paper(dataset, tmp_path / "run", protocol, say=quiet)
    with pytest.raises(SettingsError, match="epochs: 1 → 2"):
        run_paper(dataset, tmp_path / "run", replace(protocol, epochs=2), say=quiet, resume=True)
    with pytest.raises(SettingsError, match="data:"):
        run_paper(dataset.select(range(20)), tmp_path / "run", protocol, say=quiet, resume=True)
    with pytest.raises(SettingsError, match="no comparison to resume"):
        run_paper(dataset, tmp_path / "new", protocol, say=quiet, resume=True)
    more = replace(protocol, families=("CalHousNet", "ANI"))
    assert list(run_paper(dataset, tmp_path / "run", more, say=quiet, resume=True)["rows"]) == ["CalHousNet", "ANI"]


def test_frames_without_both_labels_are_left_out(dataset: Dataset, tmp_path: Path, light: None) -> None:
    protocol = replace(SHORT, families=("CalHousNet",), epochs=1)
    energy = dataset.energy.copy()
    energy[3] = np.nan
    said: list[str] = []
    results = run_paper(replace(dataset, energy=energy), tmp_path / "run", protocol, say=said.append)
    assert sum(results["data"]["frames"].values()) == 23 and "1 of 24 frames lack" in said[0]
    with pytest.raises(DataError, match="none of the 24 frames has energy"):
        run_paper(replace(dataset, energy=np.full(24, np.nan)), tmp_path / "none", protocol, say=quiet)
    with pytest.raises(DataError, match="part of the split"):
        run_paper(dataset.select(range(2)), tmp_path / "few", protocol, say=quiet)


def test_a_loss_that_is_not_finite_ends_the_run(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, light: None
) -> None:
    monkeypatch.setattr(Scales, "targets", lambda self, part: np.full((part.structures.n_atoms, 4), np.inf))
    with pytest.raises(RuCalcError, match="the loss is inf"):
        run_paper(dataset, tmp_path / "run", replace(SHORT, families=("KAN",)), say=quiet)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"families": ("KAN", "MLP")}, "family 'MLP' cannot be compared"),
        ({"families": ("KAN", "kan")}, "name each once"),
        ({"epochs": 0}, "epochs is 0"),
        ({"variance": 1.5}, "variance is 1.5"),
        ({"cutoff_A": 0.0}, "cutoff_A is 0.0"),
        ({"split": (0.8, 0.2, 0.0)}, "has validation and test frames"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        PaperProtocol(**change)
