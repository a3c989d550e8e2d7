"""Which compiled module runs, and that the modules refuse what would lead them out of their arrays."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from parity import KERNELS, STRUCTURES, engine

from ru_calc import kernels
from ru_calc.engine.engine import Engine
from ru_calc.predictor import WANTED
from ru_calc.structures import Structures
from ru_calc.structures.neighbors import NeighborPairs, find_pairs


def modules(monkeypatch: pytest.MonkeyPatch, built: tuple[str, ...], processor: tuple[str, ...]) -> dict:
    """What is available where these modules were built, on such a processor."""

    def load(name: str) -> SimpleNamespace:
        kind = name.rpartition("_")[2]
        if kind not in built:
            raise ImportError(name)
        return SimpleNamespace(name=kind, processor=lambda: processor)

    monkeypatch.setattr(kernels, "import_module", load)
    monkeypatch.setattr(kernels, "_installed", lambda name: None)
    return kernels.available.__wrapped__()


def test_the_widest_vectors_of_the_processor_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    all_three = ("avx512", "avx2", "base")
    assert list(modules(monkeypatch, all_three, all_three)) == ["avx512", "avx2", "base"]
    assert list(modules(monkeypatch, all_three, ("avx2", "base"))) == ["avx2", "base"]
    assert list(modules(monkeypatch, ("base",), all_three)) == ["base"]


def test_without_modules_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert modules(monkeypatch, (), ()) == {}
    monkeypatch.setattr(kernels, "available", dict)
    assert kernels.fastest() is None


@pytest.mark.skipif(not KERNELS, reason="there is no compiled module")
def test_a_source_tree_in_front_of_an_installation_uses_its_modules_if_the_code_is_the_same(monkeypatch, tmp_path):
    folder, here = tmp_path / "ru_calc", Path(kernels.__file__).parents[1]
    module = Path(kernels.available()[KERNELS[0]].__file__)
    for file in (module.relative_to(here), *kernels.CALLERS):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(here / file, folder / file)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert kernels._installed(f"_kernel_{KERNELS[0]}").__file__ == str(folder / "kernels" / module.name)
    assert kernels._installed("_kernel_other") is None
    (folder / kernels.CALLERS[0]).write_text("another version")
    assert kernels._installed(f"_kernel_{KERNELS[0]}") is None


@pytest.mark.skipif(not KERNELS, reason="there is no compiled module")
def test_the_fastest_is_the_first_and_an_engine_takes_it() -> None:
    assert kernels.fastest() is kernels.available()[KERNELS[0]]
    assert engine("angular")._kernel is kernels.fastest()


@pytest.mark.parametrize("kernel", KERNELS)
def test_pairs_that_do_not_fit_the_atoms_are_refused(kernel: str) -> None:
    made = engine("angular", "float64", kernel)
    structures = Structures.from_atoms(STRUCTURES["hcp"])
    pairs = find_pairs(structures, made.cutoff_A)
    with pytest.raises(RuntimeError, match=r"pair \d+ joins atoms \d+ and \d+, but there are 2 atoms"):
        made.predict(Structures.from_atoms(STRUCTURES["dimer"]), pairs)
    cut = NeighborPairs(pairs.first[1:], pairs.second, pairs.shifts, pairs.frames)
    with pytest.raises(RuntimeError, match=r"second holds \d+ numbers, not \d+"):
        made.predict(structures, cut)
    made.predict(structures, pairs)
    with pytest.raises(RuntimeError, match=r"positions holds \d+ numbers, not \d+"):
        made.predict(Structures.from_atoms(STRUCTURES["hcp"] + Atoms("Ru")), pairs)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("image", "frame", "message"), [(-1, 0, "the index of an image is negative"), (0, 1, "a frame that does not exist")]
)
def test_images_and_frames_that_do_not_exist_are_refused(kernel: str, image: int, frame: int, message: str) -> None:
    one = np.zeros(1, dtype=np.int64)
    with pytest.raises(RuntimeError, match=message):
        kernels.available()[kernel].plan(one, one, one + image, np.zeros((1, 3)), one + frame, 1, 1, True, 5.0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_arrays_of_another_kind_are_refused(kernel: str) -> None:
    made, module = engine("angular", "float64", kernel), kernels.available()[kernel]
    with pytest.raises(KeyError, match="channels"):
        module.model({}, 64)
    with pytest.raises(TypeError, match="float64"):
        none = np.zeros(0, dtype=np.int64)
        module.plan(none, none, none, np.zeros((1, 3), np.float32), np.zeros(1, np.int64), 1, 1, True, 5.0)
    arrays = np.zeros((1, 3)), np.zeros((0, 3)), np.zeros(1)
    with pytest.raises(ValueError, match="incorrect name"):
        module.evaluate(32, made._model, made._workspace, made._plan.prepared, *arrays, None, None, None)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_first_question_to_an_engine_may_be_for_the_stress_alone(kernel: str) -> None:
    atoms = STRUCTURES["hcp"]
    alone, every = (engine("angular", "float64", kernel).predict([atoms], None, want) for want in (("stress",), WANTED))
    np.testing.assert_array_equal(alone.stress, every.stress)


def test_a_module_may_be_chosen() -> None:
    for name, module in kernels.available().items():
        assert isinstance(engine("angular", "float32", name), Engine)
        assert engine("angular", "float32", name)._kernel is module
