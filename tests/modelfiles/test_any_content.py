"""Whatever stands in a model file, it is a model or there is one `ModelError`: properties that Hypothesis searches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import rewritten, small_model

from ru_calc.errors import ModelError
from ru_calc.modelfiles.load import save_model
from ru_calc.modelfiles.read import read_header, read_model_file

pytest.importorskip("hypothesis", reason="pip install '.[test]' brings hypothesis")
from hypothesis import example, given, settings
from hypothesis import strategies as st

# The same examples in every run, and no files of Hypothesis's own.
FEW = settings(derandomize=True, database=None, deadline=None, max_examples=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("any") / "m.safetensors"
    save_model(path, small_model(), {"seed": 7, "licence": "MIT"})
    return path


def refused(path: Path) -> bool:
    try:
        read_model_file(path)
    except ModelError as problem:
        assert "\n" not in str(problem) and len(str(problem)) < 700
        return True
    return False


@FEW
@given(data=st.data(), value=JSON)
def test_any_value_of_any_field_is_refused_or_is_what_is_read(whole: Path, data: st.DataObject, value: object) -> None:
    header = read_header(whole)
    part = data.draw(st.sampled_from(["header", "hyperparameters"]))
    key = data.draw(st.sampled_from(sorted(header if part == "header" else header[part])))

    def change(header: dict, _: dict) -> None:
        (header if part == "header" else header[part])[key] = value

    path = whole.with_name("changed.safetensors")
    path.write_bytes(whole.read_bytes())
    rewritten(path, change)
    if not refused(path):
        found = read_header(path)
        assert json.dumps((found if part == "header" else found[part])[key]) == json.dumps(value)  # NaN as well


@FEW
@given(content=st.binary(max_size=200))
@example(content=b"")
@example(content=b"\x02\0\0\0\0\0\0\0{}")
@example(content=b"\x08\0\0\0\0\0\0\0{}      ")
def test_any_bytes_are_refused(whole: Path, content: bytes) -> None:
    path = whole.with_name("bytes.safetensors")
    path.write_bytes(content)
    assert refused(path)


@FEW
@given(data=st.data())
def test_any_byte_of_the_weights_counts(whole: Path, data: st.DataObject) -> None:
    content = bytearray(whole.read_bytes())
    first = 8 + int.from_bytes(content[:8], "little")
    place = data.draw(st.integers(first, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path = whole.with_name("weights.safetensors")
    path.write_bytes(content)
    assert refused(path)
