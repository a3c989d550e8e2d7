"""Every form of the operators gives what loops over pairs give, and the compiled one refuses what does not fit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
if DEVICE.type == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, which nothing else has done by now

from ru_calc import kernels  # noqa: E402
from ru_calc.operators import compiled, torch_forms  # noqa: E402
from ru_calc.operators.geometry import ORDERS, SPLINES, PairGeometry, RadialGrid, Sphere  # noqa: E402
from ru_calc.operators.plain import SphericalHarmonics  # noqa: E402
from ru_calc.splines import spline_values  # noqa: E402

triton_forms: ModuleType | None
try:
    from ru_calc.operators import triton_forms
except ImportError:
    triton_forms = None

NO_TRITON = pytest.mark.skipif(triton_forms is None, reason="triton is not installed")
KERNELS = list(kernels.available())
COMPILED = [f"compiled {name}" for name in KERNELS]
ALL, SUMS = ["torch", *COMPILED], ["torch", *COMPILED, pytest.param("triton", marks=NO_TRITON)]
DTYPES = [torch.float64, torch.float32]
WIDTHS = [1, 3, 20, 128, 130]
NEAR = {torch.float64: 1e-12, torch.float32: 1e-5}  # of the largest number
GRID = RadialGrid(cutoff_A=3.3, switch_A=0.9, intervals=6)
REFUSALS = (RuntimeError, TypeError, ValueError, BufferError)


class Form(NamedTuple):
    """A module of operators, and where its arrays are."""

    module: Any
    device: torch.device

    def random(self, dtype: torch.dtype, *shape: int, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(1000 * seed + sum(shape))
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(self.device, dtype)


def chosen(label: str, monkeypatch: pytest.MonkeyPatch) -> Form:
    if label == "torch":
        return Form(torch_forms, DEVICE)
    if label == "triton":
        assert triton_forms is not None
        for name, pairs in (("node", 4), ("edge", 8), ("table", 2)):  # several rounds
            monkeypatch.setitem(triton_forms.TILES, name, (pairs, 1))
        monkeypatch.setattr(triton_forms, "PART", 2)
        return Form(triton_forms, DEVICE)
    module = kernels.available()[label.split()[1]]
    monkeypatch.setattr(kernels, "fastest", lambda: module)
    return Form(compiled, torch.device("cpu"))


@pytest.fixture(params=ALL)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Form:
    return chosen(request.param, monkeypatch)


@pytest.fixture(params=SUMS)
def summing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Form:
    """Those with sums of their own."""
    return chosen(request.param, monkeypatch)


@pytest.fixture(params=KERNELS)
def compiled_form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Form:
    return chosen(f"compiled {request.param}", monkeypatch)


@pytest.fixture(params=DTYPES, ids=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def pair_vectors(pairs: int) -> np.ndarray:
    """(p, 3) of all lengths up to beyond the cutoff, some along axes."""
    vectors = np.random.default_rng(3).normal(size=(pairs, 3))
    vectors[:3] = np.eye(3)[:pairs]
    vectors[3:4] = [0, 0, -1]
    lengths = np.linspace(0.4, 1.2 * GRID.cutoff_A, pairs)
    return (
        vectors
        / np.linalg.norm(vectors, axis=1, keepdims=True)
        * np.random.default_rng(4).permutation(lengths)[:, None]
    )


def geometry(form: Form, dtype: torch.dtype, pairs: int = 23, grid: RadialGrid = GRID) -> PairGeometry:
    """Seven atoms; pairs in no order, one of them of an atom with its image; two atoms have none."""
    atoms = np.random.default_rng(5).integers(0, 5, size=(2, pairs))
    atoms[:, 1:2] = 2
    first, second = torch.from_numpy(atoms).to(form.device)
    return PairGeometry.of(
        7, first, second, torch.from_numpy(pair_vectors(pairs)).to(form.device, dtype), grid, form.module
    )


class Loops:
    """The sums in float64, pair after pair and end after end."""

    def __init__(self, g: PairGeometry, on: Sphere | None = None) -> None:
        self.g, self.weights, self.interval, self.units = g, *map(wide, (g.weights, g.interval, g.units))
        self.y, self.dy, self.parity = (wide(x) for x in (on.values, on.slopes, on.parity)) if on else (None,) * 3

    def ends(self) -> Iterator[tuple[int, int, int]]:
        for p, (i, j) in enumerate(zip(self.g.first.tolist(), self.g.second.tolist(), strict=True)):
            yield from ((p, i, j), (p, j, i))

    def reads(self, p: int, order: int) -> Iterator[tuple[int, float]]:
        """Rows of a table and their weights."""
        return ((int(self.interval[p]) + q, self.weights[p, order, q]) for q in range(SPLINES))

    def filter(self, p: int, order: int, table: np.ndarray) -> np.ndarray:
        return sum(w * table[row] for row, w in self.reads(p, order))

    def node(self, order: int, e: np.ndarray | None, h: np.ndarray, table: np.ndarray) -> np.ndarray:
        out = np.zeros_like(h)
        for p, i, j in self.ends():
            out[i] += (1.0 if e is None else e[p]) * h[j] * self.filter(p, order, table)
        return out

    def edge(self, order: int, a: np.ndarray, h: np.ndarray, table: np.ndarray) -> np.ndarray:
        out = np.zeros(len(self.interval))
        for p, i, j in self.ends():
            out[p] += (self.filter(p, order, table) * a[i] * h[j]).sum()
        return out

    def table(self, order: int, e: np.ndarray | None, a: np.ndarray, h: np.ndarray) -> np.ndarray:
        out = np.zeros((self.g.grid.rows, h.shape[1]))
        for p, i, j in self.ends():
            for row, w in self.reads(p, order):
                out[row] += w * (1.0 if e is None else e[p]) * a[i] * h[j]
        return out

    def angles(self, p: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """(h,) harmonics of the pair as one of its ends sees it, and (3, h) their slopes by its vector."""
        sign = self.parity if end else 1.0
        return self.y[p] * sign, self.dy[p] * sign

    def density(self, u: np.ndarray | None, table: np.ndarray) -> np.ndarray:
        out = np.zeros((self.g.n_atoms, len(self.parity), table.shape[1]))
        for n, (p, i, _) in enumerate(self.ends()):
            (y, dy), radial = self.angles(p, n % 2), self.filter(p, 0, table)
            if u is None:
                out[i] += np.outer(y, radial)
            else:
                out[i] += np.outer(y, u[p] @ self.units[p] * self.filter(p, 1, table)) + np.outer(u[p] @ dy, radial)
        return out

    def density_slopes(self, bar: np.ndarray, table: np.ndarray) -> np.ndarray:
        out = np.zeros((len(self.interval), 3))
        for n, (p, i, _) in enumerate(self.ends()):
            (y, dy), radial = self.angles(p, n % 2), self.filter(p, 0, table)
            out[p] += self.units[p] * (y @ bar[i] @ self.filter(p, 1, table)) + dy @ bar[i] @ radial
        return out

    def density_table(self, u: np.ndarray | None, bar: np.ndarray) -> np.ndarray:
        out = np.zeros((self.g.grid.rows, bar.shape[2]))
        for n, (p, i, _) in enumerate(self.ends()):
            y, dy = self.angles(p, n % 2)
            for (row, w), (_, dw) in zip(self.reads(p, 0), self.reads(p, 1), strict=True):
                factors = w * y if u is None else dw * (u[p] @ self.units[p]) * y + w * (u[p] @ dy)
                out[row] += factors @ bar[i]
        return out


def wide(x: Any) -> Any:
    """Tensors as float64 arrays."""
    return x.detach().cpu().double().numpy() if isinstance(x, Tensor) else x


def assert_near(found: Any, expected: Any, dtype: torch.dtype) -> None:
    for one, other in zip(*((x,) if not isinstance(x, tuple) else x for x in (found, expected)), strict=True):
        assert one.dtype == dtype and one.is_contiguous()
        size = max(1e-30, np.abs(wide(other)).max(initial=0.0))
        np.testing.assert_allclose(wide(one), wide(other), rtol=0, atol=NEAR[dtype] * size)


def check_sums(form: Form, g: PairGeometry, dtype: torch.dtype, width: int) -> None:
    """Node, edge and table of all orders, with factors at the pairs and without."""
    e, a, h = form.random(dtype, len(g.first)), form.random(dtype, 7, width), form.random(dtype, 7, width, seed=1)
    table, loops = form.random(dtype, g.grid.rows, width), Loops(g)
    for order in range(ORDERS):
        factors = [None, e] if order == 0 else [e]
        for name, arguments in [
            *(("node", (order, x, h, table)) for x in factors),
            ("edge", (order, a, h, table)),
            *(("table", (order, x, a, h)) for x in factors),
        ]:
            found, expected = getattr(form.module, name)(g, *arguments), getattr(loops, name)(*map(wide, arguments))
            assert_near(found, expected, dtype)
            assert len(g.first) == 0 or np.abs(expected).max() > 0.1


@pytest.mark.parametrize("width", WIDTHS)
def test_sums_of_pairs(summing: Form, dtype: torch.dtype, width: int) -> None:
    g = geometry(summing, dtype)
    check_sums(summing, g, dtype, width)
    h, table = summing.random(dtype, 7, width), summing.random(dtype, GRID.rows, width)
    beyond = torch.from_numpy(np.linalg.norm(pair_vectors(23), axis=1) > GRID.cutoff_A)
    assert beyond.sum() == 5 and not g.weights[beyond].any()
    assert not summing.module.edge(g, 0, h, h, table)[beyond].any()
    assert not summing.module.node(g, 0, None, h, table)[5:].any()


@pytest.mark.parametrize("name", ["node", "edge", "table"])
def test_a_wrong_sign_is_noticed(summing: Form, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    g, right = geometry(summing, torch.float64), getattr(summing.module, name)
    monkeypatch.setattr(summing.module, name, lambda *arguments: -right(*arguments))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_sums(summing, g, torch.float64, 3)


def test_sums_of_no_pairs_are_zero(summing: Form, dtype: torch.dtype) -> None:
    check_sums(summing, geometry(summing, dtype, pairs=0), dtype, 3)


def test_sums_have_the_same_bits_again(summing: Form) -> None:
    grid = RadialGrid(3.3, 0.9, 4)
    results = []
    for _ in range(2):
        g = geometry(summing, torch.float32, 100, grid)
        e, h = summing.random(torch.float32, 100), summing.random(torch.float32, 7, 20)
        table = summing.random(torch.float32, grid.rows, 20)
        run = summing.module
        results.append([run.node(g, 0, e, h, table), run.edge(g, 1, h, h, table), run.table(g, 0, e, h, h)])
    if not (summing.module is torch_forms and DEVICE.type == "cuda"):  # which adds in any order
        assert all(torch.equal(*both) for both in zip(*results, strict=True))


def check_density(form: Form, g: PairGeometry, dtype: torch.dtype, width: int, l_max: int) -> None:
    on, table = g.sphere(l_max), form.random(dtype, GRID.rows, width)
    u, bar = form.random(dtype, len(g.first), 3), form.random(dtype, 7, len(on.parity), width)
    loops = Loops(g, on)
    for x in (None, u):
        assert_near(form.module.density(g, on, x, table), loops.density(wide(x), wide(table)), dtype)
        assert_near(form.module.density_table(g, on, x, bar), loops.density_table(wide(x), wide(bar)), dtype)
    assert_near(form.module.density_slopes(g, on, bar, table), loops.density_slopes(wide(bar), wide(table)), dtype)


@pytest.mark.parametrize("l_max", [0, 1, 3])
@pytest.mark.parametrize("width", [1, 3, 20, 130])
def test_density(form: Form, dtype: torch.dtype, width: int, l_max: int) -> None:
    check_density(form, geometry(form, dtype), dtype, width, l_max)


def test_density_of_no_pairs(form: Form, dtype: torch.dtype) -> None:
    check_density(form, geometry(form, dtype, pairs=0), dtype, 3, 2)


@pytest.mark.parametrize("name", ["density", "density_slopes", "density_table"])
def test_a_wrong_sign_of_the_density_is_noticed(form: Form, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    g, right = geometry(form, torch.float64), getattr(form.module, name)
    monkeypatch.setattr(form.module, name, lambda *arguments: -right(*arguments))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check_density(form, g, torch.float64, 3, 2)


def test_torch_takes_pairs_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    form = Form(torch_forms, DEVICE)
    g = geometry(form, torch.float64)
    monkeypatch.setattr(torch_forms, "LARGEST", 100)
    assert len(list(torch_forms._turns(g, 3))) == 5
    check_sums(form, g, torch.float64, 3)
    check_density(form, g, torch.float64, 3, 2)


def test_weights_are_splines_under_the_envelope(form: Form, dtype: torch.dtype) -> None:
    step, cutoff = GRID.cutoff_A / GRID.intervals, GRID.cutoff_A
    r = np.concatenate([np.linspace(0.05, 1.2 * cutoff, 60), step * np.arange(1, 7), [cutoff - 0.9, cutoff - 0.45]])
    vectors = torch.from_numpy(r[:, None] * np.array([0.36, -0.48, 0.8])).to(form.device, dtype)
    interval, weights, units = form.module.pair_weights(vectors, GRID)
    r = np.linalg.norm(wide(vectors), axis=1)
    u = np.clip((r - cutoff + GRID.switch_A) / GRID.switch_A, 0, 1)
    fade = [Polynomial([1, 0, 0, -10, 15, -6]).deriv(d)(u)[:, None] / GRID.switch_A**d for d in range(ORDERS)]
    fade[1:] = [np.where((u > 0)[:, None] & (u < 1)[:, None], part, 0.0) for part in fade[1:]]
    b = [spline_values(np.eye(GRID.rows), cutoff, r, d) for d in range(ORDERS)]
    product = fade[0] * b[0], fade[1] * b[0] + fade[0] * b[1], fade[2] * b[0] + 2 * fade[1] * b[1] + fade[0] * b[2]
    places = interval[:, None] + torch.arange(SPLINES, device=form.device)
    assert interval.dtype == torch.int64 and interval.min() == 0 and interval.max() == GRID.intervals - 1
    assert (interval.cpu().numpy()[r > cutoff] == GRID.intervals - 1).all()
    for order, expected in enumerate(product):
        dense = weights.new_zeros(len(r), GRID.rows).scatter(1, places, weights[:, order])
        assert_near(dense, np.where(r[:, None] < cutoff, expected, 0.0), dtype)
    assert_near(units, wide(vectors) / r[:, None], dtype)


@pytest.mark.parametrize("l_max", range(5))
def test_harmonics_and_their_slopes(form: Form, dtype: torch.dtype, l_max: int) -> None:
    vectors = torch.from_numpy(pair_vectors(23)).to(form.device, dtype)
    y, dy = form.module.pair_harmonics(vectors, l_max)
    harmonics, x = SphericalHarmonics(l_max), vectors.double()

    def summed(v: Tensor) -> Tensor:
        return harmonics(v / v.square().sum(dim=1, keepdim=True).sqrt()).sum(dim=0)

    assert_near(y, harmonics(x / x.norm(dim=1, keepdim=True)), dtype)
    assert_near(dy, torch.autograd.functional.jacobian(summed, x).permute(1, 2, 0), dtype)
    on = Sphere.of(vectors, l_max, form.module.pair_harmonics)
    assert_near(form.module.pair_harmonics(-vectors, l_max)[0], y * on.parity, dtype)


@NO_TRITON
def test_triton_has_every_function() -> None:
    def functions(module: Any) -> dict[str, Any]:
        own = vars(module).items()
        return {
            name: x for name, x in own if callable(x) and getattr(x, "__module__", "").startswith("ru_calc.operators.t")
        }

    assert triton_forms is not None
    plain = {name for name in functions(torch_forms) if not name.startswith("_")}
    assert set(triton_forms.__all__) == plain and plain <= set(vars(compiled))
    own = {name for name in plain if getattr(triton_forms, name) is not getattr(torch_forms, name)}
    assert own == {"node", "edge", "table"}


@NO_TRITON
def test_every_triton_kernel_compiles_for_a_gpu_that_is_not_here(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    tests = Path(__file__).parents[1]
    paths = [str(tests), str(tests / "engine"), environment.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(tests / "operators" / "compile_forms.py")], capture_output=True, text=True, check=False,
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["edge_kernel", "node_kernel", "table_kernel"]


def node_arguments() -> dict[str, Any]:
    """Of the compiled sum at the atoms, which fit: 2 atoms, 3 pairs, 7 rows, width 4."""
    return dict(
        bits=64, order=0, atoms=2, rows=7, width=4, first=np.array([0, 1, 0]), second=np.array([1, 1, 0]),
        interval=np.array([0, 1, 0]), weights=np.ones((3, 3, 6)), e=np.ones(3), h=np.ones((2, 4)),
        table=np.ones((7, 4)), out=np.zeros((2, 4)),
    )  # fmt: skip


def read_only(shape: tuple[int, ...]) -> np.ndarray:
    made = np.zeros(shape)
    made.flags.writeable = False
    return made


@pytest.mark.parametrize(
    "changes",
    [
        dict(bits=32), dict(bits="64"), dict(order=3), dict(order=-1), dict(order=0.5), dict(atoms=1), dict(atoms=3),
        dict(atoms=-1), dict(atoms=2**40), dict(atoms=2**80), dict(rows=6, table=np.ones((6, 4))), dict(rows=8),
        dict(rows=-7), dict(width=3), dict(width=-4), dict(width=2**32 + 4), dict(first=np.array([0, 2, 0])),
        dict(first=np.array([0, -1, 0])), dict(second=np.array([1, 1, 2**62])),
        dict(second=np.array([1, -(2**63), 0])), dict(second=np.array([1, 1])),
        dict(first=np.array([0, 1, 0], np.int32)), dict(first=np.array([0.0, 1.0, 0.0])),
        dict(interval=np.array([0, 2, 0])), dict(interval=np.array([0, -1, 0])),
        dict(interval=np.array([2**63 - 1] * 3)), dict(interval=np.array([0, 1])), dict(weights=np.ones((3, 3, 5))),
        dict(weights=np.ones((3, 3, 6), np.float32)), dict(weights=np.ones((3, 6, 6))[:, ::2]), dict(e=np.ones(2)),
        dict(e=np.ones(3, np.float32)), dict(h=None), dict(h=np.ones((3, 4))), dict(h=np.ones((2, 4), np.complex128)),
        dict(h=np.ones((2, 4), np.int64)), dict(h=[[1.0] * 4] * 2), dict(table=np.ones((7, 5))),
        dict(table=np.ones((4, 14)).T[::2]), dict(out=np.zeros((2, 3))), dict(out=read_only((2, 4))),
        dict(out=np.zeros((2, 8))[:, ::2]), dict(out=b"0" * 64), dict(out=None),
    ],
    ids=lambda changes: " ".join(f"{name} {getattr(x, 'shape', x)}" for name, x in changes.items()),
)  # fmt: skip
def test_the_compiled_sums_refuse_what_does_not_fit(compiled_form: Form, changes: dict[str, Any]) -> None:
    node = kernels.fastest().node
    node(*node_arguments().values())
    with pytest.raises((*REFUSALS, OverflowError)):
        node(*{**node_arguments(), **changes}.values())


def test_a_missing_argument_is_refused(compiled_form: Form) -> None:
    arguments = list(node_arguments().values())
    for count in range(len(arguments)):
        with pytest.raises(RuntimeError, match="an argument is missing"):
            kernels.fastest().node(*arguments[:count])


def test_compiled_operators_refuse_tensors_that_do_not_fit(compiled_form: Form) -> None:
    g = geometry(compiled_form, torch.float64)
    on, e = g.sphere(2), torch.ones(23).double()
    good, table = compiled_form.random(torch.float64, 7, 3), compiled_form.random(torch.float64, GRID.rows, 3)
    bar = compiled_form.random(torch.float64, 7, 9, 3)
    for h in (good[:6], good[:, :2], good.float(), good.half(), good.bfloat16(), good.long(), good.int(), good.bool()):
        for call in (
            lambda h: compiled.node(g, 0, None, h, table),
            lambda h: compiled.edge(g, 0, good, h, table),
            lambda h: compiled.table(g, 0, e, good, h),
        ):
            with pytest.raises(REFUSALS):
                call(h)
    for call in (
        lambda: compiled.node(g, 0, e[:-1], good, table),
        lambda: compiled.edge(g, 0, good, good, table[:3]),
        lambda: compiled.density(g, on, bar[:, 0], table),
        lambda: compiled.density(g, replace(on, parity=on.parity[:4]), None, table),
        lambda: compiled.density(g, replace(on, slopes=on.slopes[1:]), None, table),
        lambda: compiled.density(replace(g, units=g.units[1:]), on, None, table),
        lambda: compiled.density(replace(g, n_atoms=4), on, None, table),
        lambda: compiled.density_slopes(g, on, bar[:6], table),
        lambda: compiled.density_table(g, on, None, bar[:, :8]),
        lambda: compiled.pair_harmonics(g.vectors, -1),
        lambda: kernels.fastest().pair_harmonics(64, 2**16 - 1, np.zeros(0), *3 * [np.zeros(0)]),
        lambda: compiled.pair_weights(g.vectors, RadialGrid(3.3, 0.9, 0)),
        lambda: compiled.pair_weights(g.vectors.half(), GRID),
    ):
        with pytest.raises(REFUSALS):
            call()
