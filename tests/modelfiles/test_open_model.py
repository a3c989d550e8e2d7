"""Which predictor a model opens as, and what is refused with a reason."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checks import frames
from conftest import TOLERANCE, rewritten, small_model

from ru_calc import kernels
from ru_calc.engine.device import DeviceEngine
from ru_calc.engine.engine import Engine
from ru_calc.errors import ModelError, SettingsError
from ru_calc.modelfiles import model_names, open_model
from ru_calc.modelfiles.golden import golden_values
from ru_calc.modelfiles.open import GOLDEN_INTERVALS
from ru_calc.modelfiles.read import read_header, read_model_file
from ru_calc.potentials.derivatives import Reference
from ru_calc.predictor import Prediction
from ru_calc.tables import packing

FRAMES = list(frames().values())
compiled = pytest.mark.skipif(kernels.fastest() is None, reason="there is no compiled module")
TABULATED = [name for name in model_names() if read_header(name)["family"] == "schnet"]


@pytest.fixture(autouse=True)
def every_warning_is_an_error() -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """No module could be built."""
    monkeypatch.setattr(kernels, "fastest", lambda: None)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA device is there, and torch would use it: what runs on it runs on the CPU."""

    class OnCpu(DeviceEngine):
        def __init__(self, settings: dict, weights: dict, dtype: str, device: str, intervals: int | None) -> None:
            super().__init__(settings, weights, dtype, "cpu", intervals)
            self.asked = device

    monkeypatch.setattr("ru_calc.devices._cuda_devices", lambda: 1)
    monkeypatch.setattr(
        "ru_calc.potentials.derivatives.Reference", lambda potential, dtype, device, *_: (dtype, device)
    )
    monkeypatch.setattr("ru_calc.engine.device.DeviceEngine", OnCpu)


# Which


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "engine", [*(pytest.param(name, marks=compiled) for name in ("auto", "compiled")), "reference"]
)
def test_on_the_cpu_the_compiled_engine_serves_or_the_reference_where_it_is_asked_for(
    model_file: Path, engine: str, dtype: str
) -> None:
    kind = Reference if engine == "reference" else Engine
    opened = open_model(model_file, dtype, "cpu", 2, engine)
    assert (opened.engine, opened.device) == ("compiled" if kind is Engine else "reference", "cpu")
    assert isinstance(opened.predictor, kind)
    assert opened.predictor.dtype == (dtype if kind is Engine else getattr(torch, dtype))
    assert opened.predictor.threads == 2 and opened.header["seed"] == 7


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:0"])
@pytest.mark.parametrize("engine", ["auto", "compiled", "reference"])
def test_on_a_cuda_device_the_tables_serve_or_the_reference_where_it_is_asked_for(
    model_file: Path, cuda: None, engine: str, device: str
) -> None:
    opened = open_model(model_file, device=device, engine=engine)
    assert opened.device == ("cuda" if device == "auto" else device)
    if engine == "reference":
        assert opened.engine == "reference" and opened.predictor == (torch.float32, opened.device)
    else:
        assert opened.engine == "compiled"
        assert isinstance(opened.predictor, DeviceEngine) and opened.predictor.asked == opened.device


@compiled
@pytest.mark.parametrize("name", [None, *TABULATED])
def test_both_give_the_same(model_file: Path, name: str | None) -> None:
    opened = [open_model(name or model_file, "float64", "cpu", engine=engine) for engine in ("compiled", "reference")]
    both = [one.predictor.predict(FRAMES) for one in opened]
    expected = Reference(small_model().float().double()).predict(FRAMES) if name is None else both[1]
    for found in both:
        for quantity, array in (("energy", "energies"), ("forces", "forces"), ("stress", "stress")):
            tolerance = TOLERANCE["float64 tables"][quantity]
            np.testing.assert_allclose(getattr(found, array), getattr(expected, array), rtol=0, atol=tolerance)


@compiled
def test_a_family_that_is_not_compiled_is_served_by_the_reference_without_a_word(paper_file: Path) -> None:
    assert open_model(paper_file, device="cpu").engine == "reference"


# What is missing or wrong


def test_where_nothing_could_be_built_the_reference_serves_with_a_warning(model_file: Path, unbuilt: None) -> None:
    with pytest.warns(
        UserWarning, match=r"no C\+\+20 compiler.*reference path, about 20 times slower; reinstall.*silence"
    ):
        opened = open_model(model_file, device="cpu")
    assert opened.engine == "reference" and isinstance(opened.predictor, Reference)


def test_where_it_makes_no_difference_nobody_is_warned(
    model_file: Path, paper_file: Path, unbuilt: None, cuda: None
) -> None:
    open_model(model_file, device="cpu", engine="reference")
    open_model(paper_file, device="cpu")
    open_model(model_file, device="cuda")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "fast"}, "engine is 'fast'; choose one of auto, compiled, reference"),
        ({"device": "tpu"}, "device is 'tpu'; choose one of auto, cpu, cuda"),
        ({"dtype": "float16"}, "dtype is 'float16'; choose one of float32, float64"),
        ({"dtype": "float16", "engine": "reference"}, "dtype is 'float16'; choose one of float32, float64"),
        ({"dtype": "half", "engine": "reference"}, "dtype is 'half'"),
        pytest.param({"threads": 0, "engine": "compiled"}, "threads is 0; it must be 1 or more", marks=compiled),
        ({"threads": 0, "engine": "reference"}, "threads is 0; it must be 1 or more"),
    ],
)
def test_arguments_of_no_use_are_refused(model_file: Path, arguments: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        open_model(model_file, **{"device": "cpu", **arguments})


def test_a_compiled_engine_that_could_not_be_built_is_refused(model_file: Path, unbuilt: None) -> None:
    with pytest.raises(SettingsError, match="'compiled', but it could not be built at installation; use engine='auto'"):
        open_model(model_file, device="cpu", engine="compiled")


def test_a_compiled_engine_of_another_family_is_refused(paper_file: Path) -> None:
    with pytest.raises(SettingsError, match=r"family schnet, and .*paper.safetensors is of family paper; use engine="):
        open_model(paper_file, device="cpu", engine="compiled")


# Golden predictions


@pytest.mark.parametrize("weight", ["energy.2.weight", "blocks.1.filter.0.weight", "embedding.mix_once"])
@pytest.mark.parametrize("engine", [pytest.param("auto", marks=compiled), "reference"])
def test_a_changed_weight_is_noticed_before_it_is_used(model_file: Path, engine: str, weight: str) -> None:
    def change(_header: dict, weights: dict) -> None:
        weights[weight] *= 1.01

    assert open_model(model_file, device="cpu", engine=engine)
    rewritten(model_file, change)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"m.safetensors: golden energies differ by .* copy or fit it again"):
            open_model(model_file, device="cpu", engine=engine)


@compiled
def test_a_table_entry_that_is_wrong_is_noticed_before_it_is_used(
    model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(function, cutoff_A: float, intervals: int) -> np.ndarray:
        table = original(function, cutoff_A, intervals)
        table[intervals // 2 + 20, 0] += 1e-2
        return table

    original = packing.spline_coefficients
    monkeypatch.setattr(packing, "spline_coefficients", wrong)
    with pytest.raises(ModelError, match="golden energies differ"):
        open_model(model_file, device="cpu")


@compiled
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"angular": False}, r"weights do not fit its header .*blocks.*|.*'embedding\.\w+"),
        ({"blocks": 3}, r"weights do not fit its header \('blocks\.2.* is missing"),
        ({"blocks": 1}, r"weights do not fit its header \('blocks\.1.* is not part of it"),
        (
            {"readout": [8, 6]},
            r"weights do not fit its header \(energy\.2\.bias has the shape \(1,\)",
        ),
        ({"n_radial": 9}, "weights do not fit its header"),
        ({"channels": 8}, "weights do not fit its header"),
        ({"core_outer_A": 1.2}, "golden energies differ"),
        ({"cutoff_A": 5.2}, "cutoff_A of its header is 5.0; it must be that of the hyper-parameters, 5.2"),
        ({"layer_norm": False}, "weights do not fit its header .*norm"),
    ],
)
def test_weights_that_do_not_fit_the_header_are_refused(model_file: Path, changes: dict, message: str) -> None:
    rewritten(model_file, lambda header, _: header["hyperparameters"].update(changes))
    with pytest.raises(ModelError, match=message):
        open_model(model_file, device="cpu")


@compiled
def test_golden_predictions_are_checked_once_a_file(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int | None] = []

    class Counted(Engine):
        def __init__(self, *arguments: object, **options: object) -> None:
            made.append(options.get("intervals"))
            super().__init__(*arguments, **options)

    monkeypatch.setattr("ru_calc.modelfiles.open.Engine", Counted)
    for _ in range(3):
        open_model(model_file, device="cpu")
    assert made == [GOLDEN_INTERVALS, None, None, None]


def test_golden_predictions_are_checked_on_a_cuda_device(
    model_file: Path, cuda: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = DeviceEngine.predict

    def wrong(self, *arguments) -> Prediction:
        found = right(self, *arguments)
        return found if found.energy is None else replace(found, energy=found.energy + 1e-4)

    monkeypatch.setattr(DeviceEngine, "predict", wrong)
    with pytest.raises(ModelError, match="golden energies differ"):
        open_model(model_file, device="cuda")


@compiled
@pytest.mark.parametrize("name", TABULATED)
def test_shipped_models_pass_with_a_wide_margin(name: str) -> None:
    file = read_model_file(name)
    coarse = Engine(file.header["hyperparameters"], file.weights, "float64", intervals=GOLDEN_INTERVALS)
    for name, found in golden_values(coarse).items():
        expected = np.array(file.header[name])
        assert (np.abs(found - expected) < 1e-7 + 1e-10 * np.abs(expected)).all(), name
