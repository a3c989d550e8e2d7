"""Both engines give the uncertainty of the reference, only where it is wanted, and a fault in it is noticed."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from checks import frames
from parity import KERNELS, MODELS, SMALL, TRAINED, break_arrays, model, settings, weights

from ru_calc.engine.device import DeviceEngine
from ru_calc.engine.engine import Engine
from ru_calc.errors import ModelError
from ru_calc.fit.uncertainty import features
from ru_calc.potentials.derivatives import Reference
from ru_calc.predictor import predict_all
from ru_calc.structures import Structures
from ru_calc.tables.packing import Packing
from ru_calc.tables.uncertainty import Uncertainty

NAMES = [name for name in MODELS | TRAINED if name != "no angles, no blocks"]
SAME = {"float64": 1e-9, "float32": 2e-3}  # relative
WITHOUT_OVERLAP = {label: atoms for label, atoms in SMALL.items() if label != "600 neighbours"}
needs_kernel = pytest.mark.skipif(not KERNELS, reason="there is no compiled module")


@cache
def uncertainty(name: str, directions: int = 12) -> Uncertainty:
    """Of random directions, from features of about unit size."""
    rng = np.random.default_rng(3)
    found = np.concatenate([*features(model(name), Structures.from_atoms(list(WITHOUT_OVERLAP.values())))])
    projection = rng.normal(size=(directions, found.shape[1])) / found.std()
    projection = projection.astype(np.float32).astype(float)  # as model files store it
    return Uncertainty(projection, projection @ found.mean(axis=0), 0.2, 0.7)


def extended(name: str) -> dict[str, np.ndarray]:
    return weights(name) | uncertainty(name).weights()


def reference(name: str) -> Reference:
    return Reference(model(name), torch.float64, uncertainty=uncertainty(name))


def compiled(name: str, dtype: str, kernel: str = "") -> Engine:
    from ru_calc import kernels

    chosen = kernels.available()[kernel] if kernel else None
    return Engine(settings(name), extended(name), dtype, kernel=chosen, intervals=intervals(name))


def on_device(name: str, dtype: str, _kernel: str = "") -> DeviceEngine:
    return DeviceEngine(settings(name), extended(name), dtype, "cpu", intervals=intervals(name))


def intervals(name: str) -> int | None:
    return None if settings(name)["spline_intervals"] else 1200


def assert_same(predict: Callable, name: str, dtype: str) -> None:
    for label, atoms in WITHOUT_OVERLAP.items():
        expected = reference(name).predict([atoms], None, ("uncertainty",)).uncertainty
        found = predict([atoms], None, ("uncertainty",)).uncertainty
        assert found.shape == (len(atoms),) and found.dtype == np.float64
        np.testing.assert_allclose(found, expected, rtol=SAME[dtype], err_msg=label)


@needs_kernel
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", SAME)
@pytest.mark.parametrize("name", NAMES)
def test_the_compiled_engine_gives_that_of_the_reference(name: str, dtype: str, kernel: str) -> None:
    assert_same(compiled(name, dtype, kernel).predict, name, dtype)


@pytest.mark.parametrize("dtype", SAME)
@pytest.mark.parametrize("name", NAMES)
def test_the_engine_of_devices_gives_that_of_the_reference(name: str, dtype: str) -> None:
    assert_same(on_device(name, dtype).predict, name, dtype)


def test_the_reference_gives_what_the_formula_says() -> None:
    made, atoms = uncertainty("angular"), frames()["hcp"]
    (phi,) = features(model("angular"), Structures.from_atoms([atoms]))
    d = np.sqrt(((phi @ made.projection.T - made.offset) ** 2).mean(axis=1))
    found = reference("angular").predict([atoms], None, ("uncertainty",)).uncertainty
    np.testing.assert_allclose(found, made.factor * d**made.power, rtol=1e-12)


@needs_kernel
@pytest.mark.parametrize("make", [compiled, on_device])
def test_one_entry_of_every_array_of_it_is_noticed(make: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "angular, three blocks"
    arrays = [key for key in Packing(settings(name), extended(name)).arrays(64) if "whitened" in key]
    assert len(arrays) == 5  # offset, invariants, three blocks

    def change(values: np.ndarray) -> np.ndarray:
        values[np.unravel_index(np.abs(values).argmax(), values.shape)] += 1e-3
        return values

    for key in arrays:
        with monkeypatch.context() as patch:
            break_arrays(patch, key, change)
            broken = make(name, "float64")
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            assert_same(broken.predict, name, "float64")


@needs_kernel
@pytest.mark.parametrize("make", [compiled, on_device])
def test_it_changes_nothing_else_and_is_the_same_beside_anything_else(make: Callable) -> None:
    one, atoms = make("angular", "float32"), [frames()["hcp"], frames()["cluster"]]
    plain = one.predict(atoms, None, ("energies", "forces"))
    assert plain.uncertainty is None
    both = one.predict(atoms, None, ("energies", "forces", "uncertainty"))
    np.testing.assert_array_equal(both.forces, plain.forces)
    np.testing.assert_array_equal(both.energies, plain.energies)
    alone = one.predict(atoms, None, ("uncertainty",))
    np.testing.assert_array_equal(alone.uncertainty, both.uncertainty)
    assert alone.energies is None and alone.forces is None


@needs_kernel
def test_many_frames_at_once_have_it_in_the_order_of_atoms() -> None:
    one, atoms = compiled("angular", "float64"), [frames()["hcp"], frames()["cluster"]]
    together = predict_all(one, Structures.from_atoms(atoms), ("uncertainty",), batch_atoms=1).uncertainty
    single = [one.predict([frame], None, ("uncertainty",)).uncertainty for frame in atoms]
    np.testing.assert_allclose(together, np.concatenate(single), rtol=1e-12)


@needs_kernel
def test_threads_give_the_same(name: str = "angular") -> None:
    many = [frames()["hcp"] * (6, 6, 3)]
    found = [
        Engine(settings(name), extended(name), "float64", threads, intervals=100).predict(many, None, ("uncertainty",))
        for threads in (1, 3)
    ]
    np.testing.assert_allclose(found[0].uncertainty, found[1].uncertainty, rtol=1e-12)


@needs_kernel
def test_where_it_is_not_wanted_it_takes_no_memory() -> None:
    one, other = compiled("angular", "float32"), Engine(settings("angular"), weights("angular"), intervals=1200)
    for engine in (one, other):
        engine.predict([frames()["hcp"]])
    assert one.memory_bytes() == other.memory_bytes()


def test_models_without_it_say_how_to_get_it() -> None:
    engines: list = [Reference(model("angular")), DeviceEngine(settings("angular"), weights("angular"), device="cpu")]
    engines += [Engine(settings("angular"), weights("angular"))] if KERNELS else []
    for engine in engines:
        with pytest.raises(ModelError, match=r"has no uncertainty; `ru-calc fit` gives it to every new model"):
            engine.predict([frames()["hcp"]], None, ("energy", "uncertainty"))
