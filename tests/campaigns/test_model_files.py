"""The campaign of damaged model files in a reduced form, and that it can fail."""

import random

import numpy as np
import pytest
from model_files import folder, make, of_model, of_state, rewritten, state

from ru_calc.modelfiles import model_path
from ru_calc.modelfiles import open as opening


@pytest.mark.parametrize("first", range(0, 120, 30))
def test_damaged_files_are_refused_or_as_good_as_undamaged(first: int) -> None:
    ends = set()
    for seed in range(first, first + 30):
        kind, work = make(seed)
        try:
            ends.add(work())
        except Exception as problem:
            raise AssertionError(f"seed {seed} ({kind}): {problem!r}") from problem
    assert "refused" in ends and ends <= {"refused", "as undamaged", "warned of", "within golden values"}


def test_a_model_that_predicts_something_else_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def heavier(_: dict, weights: dict, _rng: random.Random) -> None:
        weights["energy.2.weight"] *= np.float32(1.001)

    path = rewritten(model_path("fast"), heavier, "with its own hash", random.Random(0))
    assert of_model(path, "fast") == "refused"
    monkeypatch.setattr(opening, "_check_compiled", lambda *_: None)
    with pytest.raises(AssertionError, match=r"forces differ by .* without a word"):
        of_model(path, "fast")


def test_another_state_is_a_failure() -> None:
    path = folder() / "state.safetensors"
    path.write_bytes(state())
    with pytest.raises(AssertionError, match="another state is resumed"):
        of_state("state", path, "")
