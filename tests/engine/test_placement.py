"""Where each operation would run, told without a device: fake tensors have a shape and a place, and never mix places.

A build of torch without CUDA cannot make fake tensors on `cuda`; `meta` serves as well, for it is not the CPU either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from checks import frames, rattled, small_potential
from labelled import lj_frames
from parity import device_engine, weights
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from ru_calc.dataset import Dataset
from ru_calc.engine.device import DeviceEngine
from ru_calc.evaluate.predictions import predict_by_model
from ru_calc.fit.batches import PackedFrames
from ru_calc.fit.levels import Level
from ru_calc.fit.losses import LabelStatistics
from ru_calc.fit.settings import FitSettings
from ru_calc.fit.tracking import ErrorSums
from ru_calc.fit.trainer import Trainer
from ru_calc.potentials import FAMILIES
from ru_calc.potentials.derivatives import Reference
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import find_pairs
from ru_calc.tables import angular
from ru_calc.tables.smooth import Constant

ELSEWHERE = "meta"
MIXED = r"found (at least two devices,|two different devices) (meta(,| and) cpu|cpu(,| and) meta)"
NAMES = ("angular", "no angles, three blocks, no norm", "odd widths", "default")
ATOMS = [rattled(frames()[label]) for label in ("hcp", "slab", "dimer", "lone")]


class MadeUp(TorchDispatchMode):
    """What depends on data is made up: a number that is read back is 1, and three entries of any are not zero."""

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operation._schema.name.removeprefix("aten::")
        if name == "_local_scalar_dense":
            return {torch.bool: True, torch.int64: 1}.get(args[0].dtype, 1.0)
        if name == "nonzero":
            return args[0].new_zeros(3, args[0].dim(), dtype=torch.int64)
        if name == "bincount":
            return args[0].new_zeros(args[2])
        if name == "repeat_interleave" and len(args) == 1:
            return args[0].new_zeros(3)
        if name == "index":
            places = [self.places(index) for index in args[1]]
            return operation(args[0], [index for part in places for index in part])
        return operation(*args, **(kwargs or {}))

    @staticmethod
    def places(index: torch.Tensor | None) -> list[torch.Tensor | None]:
        if index is None or index.dtype != torch.bool:
            return [index]
        return [index.new_zeros(3, dtype=torch.int64)] * index.dim()


def as_array(tensor: FakeTensor) -> np.ndarray:
    assert tensor.device.type == "cpu", f"a tensor on {tensor.device} cannot become an array"
    return np.zeros(tuple(tensor.shape))


def converted(module: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """As `nn.Module._apply`, which cannot put fake tensors into parameters that exist."""
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            part._parameters[name] = nn.Parameter(change(value.detach()), value.requires_grad)
        for name, value in part.named_buffers(recurse=False):
            part._buffers[name] = change(value)
    return module


@contextmanager
def fake_tensors() -> Iterator[None]:
    """Every tensor that is made meanwhile is fake."""
    for name in NAMES:
        weights(name)  # models that other tests share are made with numbers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeTensor, "numpy", as_array)
        patch.setattr(nn.Module, "_apply", converted)
        adam = torch.optim.AdamW._init_group.__globals__  # its list of devices has cuda, not meta
        patch.setitem(adam, "_device_dtype_check_for_fused", lambda *_, **__: None)
        with FakeTensorMode(allow_non_fake_inputs=True), MadeUp():
            yield
    for cached in (angular.sums_by_degree, angular._couplings, angular._raising, angular.parity):
        cached.cache_clear()


def engine_elsewhere(name: str) -> DeviceEngine:
    return device_engine(name, "float32", ELSEWHERE, intervals=64)


def fit_once(potential: nn.Module, dataset: Dataset) -> None:
    """One step of the weights, and a look at the validation frames."""
    potential.to(ELSEWHERE, torch.float32)
    parts = [
        PackedFrames(dataset.select(part), potential.cutoff_A, torch.float32, ELSEWHERE) for part in ([0, 1, 2], [3])
    ]
    settings = FitSettings()
    trainer = Trainer([Level(potential, *parts, LabelStatistics.of(dataset))], settings)
    trainer.step((0, np.arange(3)), settings.weights(0.0), ErrorSums(), 0.5, True)
    trainer.validate()


# What runs


@pytest.mark.parametrize("name", NAMES)
def test_the_device_engine_stays_on_its_device(name: str) -> None:
    with fake_tensors():
        found = engine_elsewhere(name).predict(ATOMS)
        assert found.forces.shape == (sum(map(len, ATOMS)), 3) and found.stress.shape == (4, 6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_stays_on_its_device(family: str) -> None:
    potential = small_potential(family)
    with fake_tensors():
        found = Reference(potential, torch.float32, ELSEWHERE).predict(ATOMS)
        assert found.forces.shape == (sum(map(len, ATOMS)), 3)


def test_evaluation_stays_on_its_device() -> None:
    dataset, potential = Dataset.from_atoms(lj_frames(4)), small_potential()
    with fake_tensors():
        for predictor in (Reference(potential, torch.float32, ELSEWHERE), engine_elsewhere("angular")):
            assert predict_by_model(predictor, dataset).failures == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_of_a_fit_stays_on_its_device(family: str) -> None:
    dataset, potential = Dataset.from_atoms(lj_frames(4)), small_potential(family).train()
    with fake_tensors():
        fit_once(potential, dataset)


# That it would be noticed


def leave_filter(engine: DeviceEngine) -> None:
    engine._model.filters[0] = engine._model.filters[0].cpu()


def leave_bias(engine: DeviceEngine) -> None:
    engine._model.sources[0] = engine._model.sources[0]._replace(bias=engine._model.sources[0].bias.cpu())


def leave_couplings(engine: DeviceEngine) -> None:
    engine._model.angular = dataclasses.replace(engine._model.angular, couple=engine._model.angular.couple.cpu())


def leave_mirror(engine: DeviceEngine) -> None:
    engine._plan.prepared[0] = engine._plan.prepared[0]._replace(mirror=engine._plan.prepared[0].mirror.cpu())


@pytest.mark.parametrize("leave", [leave_filter, leave_bias, leave_couplings, leave_mirror])
def test_an_array_of_the_engine_left_on_the_cpu_is_noticed(leave: Callable[[DeviceEngine], None]) -> None:
    structures = Structures.from_atoms(ATOMS)
    with fake_tensors():
        engine = engine_elsewhere("angular")
        pairs = find_pairs(structures, engine.cutoff_A)
        engine.predict(structures, pairs)
        leave(engine)
        with pytest.raises(RuntimeError, match=MIXED):
            engine.predict(structures, pairs)


@pytest.mark.parametrize("run", ["reference", "fit"])
def test_a_constant_of_a_network_left_on_the_cpu_is_noticed(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, potential = Dataset.from_atoms(lj_frames(4)), small_potential().train()
    monkeypatch.setattr(Constant, "like", lambda self, other: torch.from_numpy(self.values).to(other.dtype))
    with fake_tensors(), pytest.raises(RuntimeError, match=MIXED):
        if run == "fit":
            fit_once(potential, dataset)
        else:
            Reference(potential, torch.float32, ELSEWHERE).predict(ATOMS)


def test_an_array_is_only_made_on_the_cpu() -> None:
    with fake_tensors(), pytest.raises(AssertionError, match="a tensor on meta cannot become an array"):
        torch.zeros(3, device=ELSEWHERE).numpy()
