"""What the seed of a fit decides, and with which weights of the loss a fit is validated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from labelled import lj_frames, quiet

from ru_calc.dataset import Dataset
from ru_calc.fit.batches import PackedFrames
from ru_calc.fit.run import FitInput, run_fit, splits_of, start_trainer
from ru_calc.fit.settings import with_changes
from ru_calc.fit.trainer import Trainer

DATA = Dataset.from_atoms(lj_frames(20))
SMALL = {"model.channels": 8, "model.n_radial": 6, "model.angular_radial": 3, "model.triple": 2, "split_seed": 0}
Weights = dict[str, torch.Tensor]


def trainer_of(folder: Path, preset: str = "md", **changes) -> Trainer:
    torch.manual_seed(0)
    job = FitInput(DATA, folder, with_changes(preset, {"split_seed": 0, **changes}))
    return start_trainer(job, splits_of(job), quiet)


def equal(one: Weights, other: Weights) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_seed_decides_the_first_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Seen(Exception):
        pass

    def first_weights(seed: int) -> Weights:
        found: Weights = {}

        def run_epoch(trainer: Trainer, report: object) -> None:
            found.update(trainer.potential.state_dict())
            raise Seen

        monkeypatch.setattr(Trainer, "run_epoch", run_epoch)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        with pytest.raises(Seen):
            run_fit(FitInput(DATA, folder, with_changes("md", {**SMALL, "seed": seed})), say=quiet)
        return found

    one, again, other = first_weights(3), first_weights(3), first_weights(4)
    assert equal(one, again) and not equal(one, other)


def test_the_seed_and_the_epoch_decide_what_drops_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch, always the same, so that the error is that of the first weights."""
    batches = PackedFrames.batches
    monkeypatch.setattr(PackedFrames, "batches", lambda frames, settings, *_: batches(frames, settings))

    def error_of_an_epoch(seed: int, epoch: int) -> float:
        trainer = trainer_of(tmp_path, "paper", batch_frames=100, accumulate=1, seed=seed)
        trainer.progress.epoch = epoch
        trainer.run_epoch()
        return trainer.progress.rows[0]["train_energy_meV_per_atom"]

    assert error_of_an_epoch(3, 0) == error_of_an_epoch(3, 0)
    assert error_of_an_epoch(3, 0) != error_of_an_epoch(4, 0)
    assert error_of_an_epoch(3, 0) != error_of_an_epoch(3, 1)


def test_validation_weighs_the_loss_as_at_the_end(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, energy_weight=[9.0, 1.0], forces_weight=[0.5, 2.0], **SMALL)

    def loss(**weights: tuple[float, float]) -> float:
        trainer.settings = replace(trainer.settings, **weights)
        return trainer.validate()[0]

    found = loss()
    assert loss(energy_weight=(1.0, 1.0), forces_weight=(2.0, 2.0)) == found
    assert loss(energy_weight=(9.0, 9.0)) != found and loss(forces_weight=(0.5, 0.5)) != found
    trainer.settings = replace(trainer.settings, energy_weight=(9.0, 1.0), forces_weight=(0.5, 2.0), epochs=40)
    trainer.run_epoch()
    row = trainer.progress.rows[0]
    assert row["energy_weight"] == 9.0 and row["validation_loss"] == loss(energy_weight=(1.0, 1.0))
