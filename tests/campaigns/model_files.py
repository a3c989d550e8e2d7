"""Damaged model files, training states and checkpoints: refused with one typed error, or as good as undamaged.

Bits and runs of bytes are changed, files cut, header fields removed and changed, weights given other values, types and
shapes, headers made to lie or to nest.  A damaged model that still loads must predict the forces of the undamaged one
to within 1e-6 eV/Å.  Some files get a hash that fits, as from somebody who writes such a file: what they change must be
within the golden values' reach, 1e-4 eV/Å.  Some are of version 1, which has no hash: where the five golden energies
do not tell, the warning that a reader gets must.
"""

from __future__ import annotations

import json
import pickle
import random
import shutil
import struct
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import CalculatorSetupError
from campaign import Limits, main
from safetensors import safe_open
from safetensors.numpy import save_file

from ru_calc import RuCalculator
from ru_calc.errors import DataError, ModelError, RuCalcError
from ru_calc.files import content_sha256
from ru_calc.fit.state import read_state
from ru_calc.md import MDOutput, MDSettings, run_md
from ru_calc.md.checkpoint import load_checkpoint
from ru_calc.modelfiles import model_path
from ru_calc.modelfiles.read import read_header

LIMITS = Limits(time_s=1.0, memory_bytes=2**30)
TOLERANCE_EV_PER_A = {"damaged": 1e-6, "with its own hash": 1e-4, "version 1": 1e-6}
MODELS = ("fast", "fast", "fast", "fast", "default", "calhousnet")
Rng = random.Random
ODD = (
    None, True, False, 0, -1, 1, 2, 3, 0.5, -1.5, 17, 10**9, 10**400, 1e-300, 1e300, float("nan"), float("inf"),
    "", "7", "schnet", "x" * 10**5, [], [1], [[]], [10**9] * 3, [0] * 10**4, {}, {"a": {}},
)  # fmt: skip


@cache
def folder() -> Path:
    """Of this process, with what is damaged and where it is damaged."""
    path = Path(tempfile.mkdtemp(prefix="ru-calc-model-files-"))
    import atexit

    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def frames() -> list[Atoms]:
    """Crystal, surface, dimers in the core and near the cutoff."""
    crystal = bulk("Ru", "hcp", a=2.75, c=4.3) * (2, 2, 1)
    crystal.rattle(0.1, seed=1)
    slab = crystal.copy()
    slab.center(vacuum=5.0, axis=2)
    return [crystal, slab, *(Atoms("Ru2", [[0, 0, 0], [d, 0, 0]]) for d in (0.6, 0.9, 1.3, 1.65, 2.3, 4.8))]


def forces(model: str | Path) -> np.ndarray:
    """(n, 3) forces in eV/Å of all frames, through the calculator, as a user would have them."""
    calculator = RuCalculator(str(model), device="cpu", dtype="float64")
    return np.concatenate([calculator.get_forces(atoms) for atoms in frames()])


@cache
def expected(name: str) -> np.ndarray:
    return forces(name)


# What is done to bytes


def flip_bits(data: bytearray, rng: Rng) -> bytes:
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        data[_somewhere(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(data)


def change_run(data: bytearray, rng: Rng) -> bytes:
    start, length = _somewhere(data, rng), rng.choice((1, 2, 4, 8, 64, 4096))
    new = rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length), bytes(data[:length])))
    data[start : start + length] = new
    return bytes(data)


def cut(data: bytearray, rng: Rng) -> bytes:
    kept = rng.choice((0, 1, 7, 8, 9, rng.randrange(len(data)), len(data) - 1))
    return bytes(data[:kept]) + rng.choice((b"", bytes(rng.randrange(100)), rng.randbytes(rng.randrange(5000))))


def _somewhere(data: bytearray, rng: Rng) -> int:
    """Half of the places are in the header."""
    header = min(8 + int.from_bytes(data[:8], "little"), len(data))
    return rng.randrange(header if rng.random() < 0.5 else len(data))


BYTES = {"bits": flip_bits, "runs of bytes": change_run, "cut": cut}


# What is done to header and weights


def change_field(header: dict, _: dict, rng: Rng) -> None:
    part = header
    while True:
        key = rng.choice(sorted(part))
        if not (isinstance(part[key], dict) and part[key] and rng.random() < 0.7):
            break
        part = part[key]
    action = rng.randrange(4)
    if action == 0:
        del part[key]
    elif action == 1:
        part[key + "x"] = part.pop(key)
    elif action == 2 and isinstance(part[key], int | float):
        part[key] = part[key] * rng.choice((-1, 0, 0.5, 2, 1e9)) + rng.choice((0, 1))
    else:
        part[key] = rng.choice(ODD)


def change_hyperparameter(header: dict, weights: dict, rng: Rng) -> None:
    own = header["hyperparameters"]
    own[rng.choice(sorted(own))] = rng.choice((*ODD, *own.values()))


def change_weight(_: dict, weights: dict, rng: Rng) -> None:
    name = rng.choice(sorted(weights))
    array = weights[name]
    action = rng.randrange(7)
    if action == 0:
        array.flat[rng.randrange(array.size)] = rng.choice((np.nan, np.inf, -np.inf, 1e30, 1e38))
    elif action == 1:
        weights[name] = array.astype(rng.choice((np.float16, np.float64, np.int32, np.int8, np.bool_)))
    elif action == 2:
        weights[name] = rng.choice((array.ravel(), array[None], array[:-1], np.zeros((0,), "f4"), array.T.copy()))
    elif action == 3:
        del weights[name]
    elif action == 4:
        weights[name + ".more"] = array
    elif action == 5:
        other = rng.choice(sorted(weights))
        weights[name], weights[other] = weights[other], array
    else:
        array.flat[rng.randrange(array.size)] += rng.choice((-1, 1, 0.01, 1e-3))


PARTS = {"header fields": change_field, "hyper-parameters": change_hyperparameter, "weights": change_weight}


def rewritten(source: Path, change: Callable, origin: str, rng: Rng) -> Path:
    """The model with a change, in a file of one of the origins of `TOLERANCE_EV_PER_A`."""
    with safe_open(str(source), "np") as file:
        header = json.loads(file.metadata()["ru_calc"])
        weights = {name: file.get_tensor(name) for name in file.keys()}
    if origin == "version 1":
        header.update(version=1, golden_energies_eV=header["golden_energies_eV"][:5])
        del header["golden_forces_eV_per_A"], header["sha256"]
    change(header, weights, rng)
    if origin == "with its own hash":
        header.pop("sha256", None)
        header["sha256"] = content_sha256(header, weights)
    path = folder() / "damaged.safetensors"
    save_file(weights, str(path), metadata={"ru_calc": json.dumps(header)})
    return path


# What is made to look like a model


def container(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length % 2**64) + text + body


class Hostile:
    def __reduce__(self) -> tuple:
        return (open, (str(folder() / "it-ran"), "w"))


def hostile(rng: Rng) -> bytes:
    n = rng.choice((10, 10**3, 10**5, 10**6))
    nested = rng.choice((b"[" * n, b'{"a":' * n, b"[" * n + b"]" * n, b'{"a":' * n + b"1" + b"}" * n))
    sizes = [rng.choice((0, 1, 7, 2**31, 2**32, 2**63, 10**18)) for _ in range(rng.randrange(4))]
    offsets = [rng.choice((0, 4, 8, 2**32, 2**63, -1)) for _ in range(rng.choice((2, 2, 2, 1, 3)))]
    dtype = rng.choice(("F32", "F64", "BF16", "I64", "F8_E4M3", "C64", "X", 7))
    entry = {"dtype": dtype, "shape": sizes, "data_offsets": offsets}
    inner = rng.choice((nested.decode(), "9" * n, json.dumps({"schema": "ru-calc/model", "version": 2}), "null"))
    return rng.choice((
        lambda: container(nested), lambda: container({"__metadata__": {"ru_calc": inner}}),
        lambda: container({"w": entry}, bytes(8)), lambda: container({f"w{k}": entry for k in range(min(n, 10**4))}),
        lambda: container({"__metadata__": {"ru_calc": inner}, "w": entry}, bytes(4)),
        lambda: container({}, length=rng.choice((0, -1, 2**40, 2**63, n))),
        lambda: pickle.dumps(Hostile()), lambda: b"PK\x03\x04" + pickle.dumps(Hostile()),
        lambda: rng.randbytes(n),
    ))()  # fmt: skip


# States


@cache
def checkpoint() -> bytes:
    atoms = bulk("Ru", "hcp", a=2.73, c=4.3)
    run_md(atoms, RuCalculator("fast", device="cpu"), MDSettings(steps=2), MDOutput(folder() / "run"))
    return (folder() / "run" / "checkpoint.npz").read_bytes()


@cache
def state() -> bytes:
    import torch

    from ru_calc.fit.state import Progress, write_state

    network = torch.nn.Linear(30, 20)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.ones(1, 30)).sum().backward()
    optimizer.step()
    rows = [{"epoch": k, "validation_loss": 1.0 / k} for k in (1, 2, 3)]
    path = folder() / "state.safetensors"
    write_state(path, Progress(3, 0.3, 3, rows), {"model": network.state_dict()}, optimizer)
    return path.read_bytes()


def contents(kind: str, path: Path) -> str:
    """What a resumed run takes from a file, as a text."""
    if kind == "state":
        found = read_state(path)
        return f"{found.progress} {[(name, found.tensors[name].tolist()) for name in sorted(found.tensors)]}"
    found = load_checkpoint(path.parent)
    atoms = found.atoms
    arrays = [atoms.positions, atoms.get_momenta(), atoms.cell.array, atoms.get_masses()]
    scalars = (found.settings, found.output.trajectory, found.step, found.rng, found.ensemble, found.marks)
    return f"{[array.tolist() for array in arrays]} {scalars}"


# Cases


def of_model(path: Path, name: str, origin: str = "damaged") -> str:
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            read_header(path)
            found = forces(path)
    except (ModelError, CalculatorSetupError) as problem:
        text = str(problem)
        assert "\n" not in text and len(text) < 700, f"not one short line: {text[:100]!r} …"
        return "refused"
    finally:
        assert not (folder() / "it-ran").exists(), "the file ran code"
    error = np.abs(found - expected(name)).max()
    if error <= TOLERANCE_EV_PER_A["damaged"]:
        return "as undamaged"
    said = any("without a hash" in str(one.message) for one in warned)
    assert said or error <= TOLERANCE_EV_PER_A[origin], f"forces differ by {error:.2g} eV/Å without a word"
    return "warned of" if said else "within golden values"


def of_state(kind: str, path: Path, right: str) -> str:
    try:
        found = contents(kind, path)
    except (DataError, RuCalcError) as problem:
        assert "\n" not in str(problem) and len(str(problem)) < 700
        return "refused"
    assert found == right, "another state is resumed without a word"
    return "as undamaged"


def make(seed: int) -> tuple[str, Callable[[], str]]:
    rng = Rng(seed)
    draw = rng.random()
    if draw < 0.15:
        return _state_case(rng)
    name, path = rng.choice(MODELS), folder() / "damaged.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # energies of atoms that overlap
        expected(name)
    if draw < 0.25:
        path.write_bytes(hostile(rng))
        return "made to look like a model", lambda: of_model(path, name)
    source = model_path(name)
    if draw < 0.6:
        kind = rng.choice(sorted(BYTES))
        path.write_bytes(BYTES[kind](bytearray(source.read_bytes()), rng))
    else:
        kind, origin = rng.choice(sorted(PARTS)), rng.choice(sorted(TOLERANCE_EV_PER_A))
        path = rewritten(source, PARTS[kind], origin, rng)
        return f"model, {origin}: {kind}", lambda: of_model(path, name, origin)
    return f"model: {kind}", lambda: of_model(path, name)


def _state_case(rng: Rng) -> tuple[str, Callable[[], str]]:
    kind, how = rng.choice(("state", "checkpoint")), rng.choice(sorted(BYTES))
    whole = (state if kind == "state" else checkpoint)()
    place = folder() / "damaged"
    place.mkdir(exist_ok=True)
    path = place / ("state.safetensors" if kind == "state" else "checkpoint.npz")
    path.write_bytes(whole)
    right = contents(kind, path)
    path.write_bytes(BYTES[how](bytearray(whole), rng))
    return f"{kind}: {how}", lambda: of_state(kind, path, right)


if __name__ == "__main__":
    main(make, __doc__.splitlines()[0], LIMITS, 5000)
