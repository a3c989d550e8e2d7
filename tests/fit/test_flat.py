"""Weights as one vector are the same weights, and an optimiser moves them as it moves them one by one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from checks import small_potential
from labelled import lj_frames
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from ru_calc import kernels
from ru_calc.dataset import Dataset
from ru_calc.errors import RuCalcError
from ru_calc.fit.batches import PackedFrames
from ru_calc.fit.flat import flatten
from ru_calc.fit.levels import Level
from ru_calc.fit.losses import LabelStatistics
from ru_calc.fit.settings import FitSettings, with_changes
from ru_calc.fit.trainer import Trainer, clip

RATES = {f"rate_{part}": 3e-3 * k for k, part in enumerate(("embedding", "blocks", "readout"), 1)}
SETTINGS = {
    "batch_frames": 2, "batch_pairs": 0, "epochs": 3, "dtype": "float64", "warmup": 0.0, "accumulate": 2, **RATES
}  # fmt: skip
SIZES = {"channels": 10, "n_radial": 6, "filter_hidden": 6, "angular_radial": 3, "triple": 2, "readout": (4,)}


def layers() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    made = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.LayerNorm(5), nn.Linear(5, 2, bias=False)).double()
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return made


def loss(module: nn.Module, step: int) -> torch.Tensor:
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    return module(x).square().sum()


# One vector


def test_parameters_and_gradients_are_views_of_the_vector() -> None:
    module, before = layers(), [value.clone() for value in layers().parameters()]
    parameters = list(module.parameters())
    flat = flatten(parameters)
    assert flat.shape == (sum(value.numel() for value in before),) and flat.is_leaf and flat.requires_grad
    assert torch.equal(flat, torch.cat([value.flatten() for value in before]))
    assert all(map(torch.equal, parameters, before))
    start = 0
    for parameter in parameters:
        for part, whole in ((parameter.data, flat.data), (parameter.grad, flat.grad)):
            assert part.is_contiguous() and part.data_ptr() == whole.data_ptr() + 8 * start
        start += parameter.numel()
    with torch.no_grad():
        flat.mul_(2.0)
    assert all(torch.equal(parameter, 2.0 * value) for parameter, value in zip(parameters, before, strict=True))


def test_gradients_arrive_in_the_vector_and_add_up() -> None:
    module, alone = layers(), layers()
    flat = flatten(list(module.parameters()))
    for step in (1, 2):
        for each in (module, alone):
            loss(each, step).backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in alone.parameters()])
    assert expected.abs().max() > 1 and torch.equal(flat.grad, expected)


def test_weights_that_are_loaded_arrive_in_the_vector() -> None:
    module, other = layers(), {name: value + 1.0 for name, value in layers().state_dict().items()}
    flat = flatten(list(module.parameters()))
    module.load_state_dict(other)
    assert torch.equal(flat, torch.cat([other[name].flatten() for name, _ in module.named_parameters()]))


def after_steps(
    module: nn.Module, parameters: list[nn.Parameter], fused: bool, drop: bool = False
) -> list[torch.Tensor]:
    optimizer = torch.optim.AdamW(parameters, lr=0.05, weight_decay=0.1, fused=fused)
    for step in range(5):
        loss(module, step).backward()
        nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=drop)
    return [parameter.detach().clone() for parameter in module.parameters()]


@pytest.mark.parametrize("fused", [False, True])
def test_adamw_takes_the_steps_that_it_takes_one_by_one(fused: bool) -> None:
    module, alone = layers(), layers()
    expected = after_steps(alone, list(alone.parameters()), fused)
    for value, start in zip(expected, layers().parameters(), strict=True):
        assert (value - start).abs().max() > 0.1
    for one, other in zip(after_steps(module, [flatten(list(module.parameters()))], fused), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("most", [0.5, 1e9])
def test_gradients_are_clipped_by_their_norm_together(most: float) -> None:
    module, alone = layers(), layers()
    parts = [flatten(list(module[0].parameters())), flatten([*module[2].parameters(), *module[3].parameters()])]
    for each in (module, alone):
        loss(each, 1).backward()
    clip(parts, most)
    before = nn.utils.clip_grad_norm_(alone.parameters(), most)
    assert 0.5 < before < 1e9
    for one, other in zip(module.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=2e-6, atol=0)


def test_gradients_must_be_filled_with_zeros_not_dropped() -> None:
    module, alone = layers(), layers()
    moved = after_steps(module, [flatten(list(module.parameters()))], True, drop=True)
    assert not all(map(torch.allclose, moved, after_steps(alone, list(alone.parameters()), True, drop=True)))


# In a fit


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset.from_atoms(lj_frames(12))


def settings(**changes: object) -> FitSettings:
    return with_changes("md", {**SETTINGS, **changes})


def trainer(dataset: Dataset, plain: bool = False, chosen: FitSettings | None = None, **changes: object) -> Trainer:
    chosen = chosen or settings()
    model = small_potential(**{"spline_intervals": 24, **SIZES, **changes}).train()
    parts = [PackedFrames(dataset.select(part), model.cutoff_A, torch.float64) for part in (range(9), range(9, 12))]
    made = Trainer([Level(model, *parts, LabelStatistics.of(dataset))], chosen)
    made.compiled &= not plain
    return made


def weights(made: Trainer) -> list[torch.Tensor]:
    return [value.detach().clone() for module in (made.potential, made.averaged) for value in module.parameters()]


@pytest.mark.skipif(kernels.fastest() is None, reason="there is no compiled module")
@pytest.mark.parametrize("changes", [{}, {"angular": False, "layer_norm": False}, {"spline_intervals": 0}])
def test_a_plain_fit_comes_to_the_same_weights(dataset: Dataset, changes: dict) -> None:
    fast, plain = trainer(dataset, **changes), trainer(dataset, plain=True, **changes)
    assert fast.compiled and not plain.compiled
    start = weights(fast)
    for made in (fast, plain):
        for _ in range(2):
            made.run_epoch()
    for before, one, other in zip(start, weights(fast), weights(plain), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
        assert (one - before).abs().max() > 1e-4 or len(before) == 1  # the last bias cancels
    for name, value in plain.progress.rows[-1].items():
        assert "seconds" in name or fast.progress.rows[-1][name] == pytest.approx(value, rel=1e-8)


def test_averages_are_those_of_single_weights(dataset: Dataset) -> None:
    made = trainer(dataset)
    expected = [value.detach().clone() for value in made.potential.parameters()]
    step, seen = made._update, []

    def watched(progress: float) -> None:
        step(progress)
        seen.append(1)
        decay = min(made.settings.ema, len(seen) / (len(seen) + 10))
        for average, value in zip(expected, made.potential.parameters(), strict=True):
            average.lerp_(value.detach(), 1 - decay)

    made._update = watched
    made.run_epoch()
    assert len(seen) > 1
    for average, value in zip(expected, made.averaged.parameters(), strict=True):
        torch.testing.assert_close(value, average, rtol=0, atol=1e-14)
        assert not value.requires_grad


def test_a_resumed_fit_is_the_same_to_the_last_bit(dataset: Dataset, tmp_path: Path) -> None:
    whole, broken, again = (trainer(dataset) for _ in range(3))
    for _ in range(3):
        whole.run_epoch()
    broken.run_epoch()
    assert any(parameter.grad.any() for parameter in broken.potential.parameters())  # half a step is done
    broken.save_state(tmp_path / "state")
    again.load_state(tmp_path / "state")
    for _ in range(2):
        again.run_epoch()
    assert all(map(torch.equal, weights(again), weights(whole)))
    assert again.progress.rows[-1]["validation_loss"] == whole.progress.rows[-1]["validation_loss"]
    flat = [parameter for group in again.optimizer.param_groups for parameter in group["params"]]
    starts = {parameter.data_ptr() for parameter in again.potential.parameters()}
    assert {parameter.data_ptr() for parameter in flat} <= starts  # still views of the same vectors


def contents(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(str(path), "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def test_a_state_of_other_shapes_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    made = trainer(dataset)
    made.run_epoch()
    made.save_state(tmp_path / "state")
    tensors, facts = contents(tmp_path / "state")
    progress = json.loads(facts["progress"])
    del progress["sha256"]  # which earlier versions did not write
    facts = {"progress": json.dumps(progress)}
    for broken in (
        {**tensors, "optimizer.1.exp_avg": tensors["optimizer.1.exp_avg"][1:]},
        {**tensors, "optimizer.7.exp_avg": tensors["optimizer.1.exp_avg"]},
    ):
        save_file({name: value.clone() for name, value in broken.items()}, tmp_path / "broken", metadata=facts)
        with pytest.raises(RuCalcError, match="was written by another version of ru-calc; start the fit anew"):
            trainer(dataset).load_state(tmp_path / "broken")
    trainer(dataset).load_state(tmp_path / "state")
