"""From the weights of a SchNet to the arrays that the compiled passes read.

With one element every filter is a function of one number, and so is every radial function of the angular embedding:
they become tables.  Only the envelope and the ZBL core remain formulas, so that the tabulated functions are analytic
and the cutoff is exact.  Successive linear maps are multiplied: with x = Σ_k D_k s_k + const, where s_k is the
activation of the embedding or of block k,

    h_b = U_b x = Σ_(k < b) (U_b D_k) s_k + const        what block b gathers
    z   = R x   = Σ_k (R D_k) s_k + const                 what the energy pathway starts from

and in a network whose atoms all start alike, the first dense layer goes into the first table.  Layer normalisation
subtracts a mean, which is linear: it goes into the dense layer before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ru_calc.tables.constants import NORM_EPS, ZBL_DECAYS, ZBL_LENGTH_A, ZBL_SCALE_EV_A, ZBL_STRENGTHS
from ru_calc.tables.harmonics import InvariantPlan, raising_terms
from ru_calc.tables.splines import RadialFunction, spline_coefficients
from ru_calc.tables.uncertainty import Uncertainty

PAD = 16  # widths are filled up with zeros to whole vectors of every instruction set

Weights = Mapping[str, np.ndarray]


class Packing:
    """The numbers of one SchNet, by its hyper-parameters and arrays, to be tabulated with any number of intervals.

    Attributes:
        functions: the radial functions to tabulate, by the name of their table.
    """

    def __init__(self, settings: Mapping[str, Any], weights: Weights) -> None:
        self.settings = settings
        self._weights = weights
        self.channels = _filled_up(settings["channels"])
        self.angular = bool(settings["angular"])
        self.functions: dict[str, RadialFunction] = {}
        self._fixed: dict[str, Any] = {**self._numbers(), **self._energy_pathway()}
        for block in range(settings["blocks"]):
            self._fixed |= self._block(block)
        for source in range(settings["blocks"] + self.angular):
            self._fixed |= self._outgoing(source)
        if self.angular:
            self._fixed |= self._embedding()
        if Uncertainty.PROJECTION in weights:
            self._fixed |= self._whitening()

    @property
    def intervals(self) -> int:
        """Of the tables that the network was trained with; 0 where it was trained without."""
        return int(self.settings.get("spline_intervals", 0))

    @property
    def cutoff_A(self) -> float:
        return float(self.settings["cutoff_A"])

    def arrays(self, intervals: int) -> dict[str, Any]:
        """What the compiled `model` takes: float64 arrays and floats by name; see src/inference/model.hpp."""
        tables = {
            name: spline_coefficients(function, self.cutoff_A, intervals) for name, function in self.functions.items()
        }
        filled = {name: _padded(table, len(table), _filled_up(table.shape[1])) for name, table in tables.items()}
        return {name: _plain(value) for name, value in {**self._fixed, **filled, "intervals": intervals}.items()}

    @property
    def _plan(self) -> InvariantPlan:
        return InvariantPlan(*(self.settings[name] for name in ("angular_radial", "l_max", "triple")))

    def _w(self, name: str) -> np.ndarray:
        return np.asarray(self._weights[name], dtype=np.float64)

    def _layer(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self._w(f"{name}.weight"), self._w(f"{name}.bias")

    def _numbers(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "channels": self.channels, "width": settings["channels"], "blocks": settings["blocks"],
            "angular": self.angular, "cutoff": self.cutoff_A, "fade": settings["switch_A"], "norm_eps": NORM_EPS,
            "core_inner": settings["core_inner_A"], "core_outer": settings["core_outer_A"],
            "core_length": ZBL_LENGTH_A, "core_strength": ZBL_SCALE_EV_A,
            "core_terms": np.array([ZBL_STRENGTHS, ZBL_DECAYS]).T,
        }  # fmt: skip

    def _gaussians(self, r: np.ndarray) -> np.ndarray:
        start, stop, n = self.settings["core_inner_A"], self.cutoff_A, self.settings["n_radial"]
        width = (stop - start) / (n - 1)
        return np.exp(-0.5 * ((r[:, None] - np.linspace(start, stop, n)) / width) ** 2)

    def _features(self, blocks: int) -> np.ndarray:
        """The constant part of x in front of block number `blocks`."""
        x = self._w("embedding.dense.2.bias") if self.angular else self._w("embedding.weight")[0]
        return x + sum(self._w(f"blocks.{b}.dense2.bias") for b in range(blocks))

    def _energy_pathway(self) -> dict[str, Any]:
        hidden = len(self.settings["readout"])
        weight, bias = self._layer("energy.0")
        first = _padded(weight @ self._features(self.settings["blocks"]) + bias)
        made: dict[str, Any] = {
            "head": len(first), "head_bias": first, "head_layers": max(0, hidden - 1), "linear_head": hidden == 0,
        }  # fmt: skip
        for k in range(hidden - 1):
            made[f"head_dense_{k}"], made[f"head_bias_{k}"] = map(_padded, self._layer(f"energy.{2 * k + 2}"))
        weight, bias = self._layer(f"energy.{2 * hidden}") if hidden else (np.ones((1, 1)), np.zeros(1))
        return {**made, "energy_weight": _padded(weight[0]), "energy_bias": bias[0]}

    def _filter(self, block: int) -> RadialFunction:
        (w1, b1), (w2, b2) = (self._layer(f"blocks.{block}.filter.{k}") for k in (0, 2))

        def filters(r: np.ndarray) -> np.ndarray:
            hidden = self._gaussians(r) @ w1.T + b1
            return hidden / (1.0 + np.exp(-hidden)) @ w2.T + b2

        return filters

    def _block(self, block: int) -> dict[str, Any]:
        source, width = f"source_{block + self.angular}", self.channels
        start = self._w(f"blocks.{block}.incoming.weight") @ self._features(block)
        weight, bias = self._layer(f"blocks.{block}.dense1")
        made = {f"start_{block}": _padded(start, width)}
        if self.settings["layer_norm"]:
            weight, bias = weight - weight.mean(axis=0), bias - bias.mean()
            for name, values in zip(("scale", "offset"), self._layer(f"blocks.{block}.norm"), strict=True):
                made[f"{source}_{name}"] = _padded(values, width)
        made[f"{source}_bias"] = _padded(bias, width)
        filters = self._filter(block)
        if source == "source_0":
            folded = (weight * start).T
            self.functions[f"filter_{block}"] = lambda r: filters(r) @ folded
        else:
            self.functions[f"filter_{block}"] = filters
            made[f"{source}_in"] = _padded(weight, width, width)
        return made

    def _outgoing(self, source: int) -> dict[str, Any]:
        """Where source k goes by the matrix D_k, by which it enters x."""
        block, width = source - self.angular, self.channels
        out = self._w("embedding.dense.2.weight" if block < 0 else f"blocks.{block}.dense2.weight")
        made = {
            f"source_{source}_to_head": _padded(self._w("energy.0.weight") @ out, self._fixed["head"], self.channels)
        }
        for later in range(block + 1, self.settings["blocks"]):
            into = self._w(f"blocks.{later}.incoming.weight") @ out
            made[f"source_{source}_to_{later}"] = _padded(into, width, width)
        return made

    def _embedding(self) -> dict[str, Any]:
        plan = self._plan
        n, triple = plan.radial, plan.triple
        self.functions["angular_table"] = lambda r: self._gaussians(r) @ self._w("embedding.radial.weight").T
        wide, triple_wide = _filled_up(n), _filled_up(triple)
        mixings = [_padded(self._w("embedding.mix").T, wide, wide)]
        if triple:
            mixings += [_padded(self._w(f"embedding.mix_{k}").T, triple_wide, wide) for k in ("once", "twice")]
        first, bias = self._layer("embedding.dense.0")
        return {
            "angular_radial": wide, "l_max": plan.l_max, "triple": triple_wide, "couplings": plan.couplings,
            "mix": np.concatenate(mixings), "triple_terms": plan.terms, "raising_terms": raising_terms(plan.l_max),
            "source_0_in": self._of_invariants(first, self.channels), "source_0_bias": _padded(bias, self.channels),
        }  # fmt: skip

    def _of_invariants(self, matrix: np.ndarray, rows: int) -> np.ndarray:
        """A matrix that multiplies the invariants, filled up as the passes hold them."""
        plan = self._plan
        second, third = np.split(matrix, [plan.radial * (2 * plan.l_max + 3)], axis=1)
        parts = second.reshape(len(matrix), -1, plan.radial), third.reshape(len(matrix), plan.couplings, plan.triple)
        widened = [_padded(part, rows, part.shape[1], _filled_up(part.shape[2])).reshape(rows, -1) for part in parts]
        return np.concatenate(widened, axis=1)

    def _whitening(self) -> dict[str, Any]:
        """What the Mahalanobis distance takes: invariants, then the activations of the blocks."""
        projection, offset = self._w(Uncertainty.PROJECTION), self._w(Uncertainty.OFFSET)
        blocks, channels, rows = self.settings["blocks"], self.settings["channels"], _filled_up(len(offset))
        invariants, *activations = np.split(
            projection, [self._plan.features * self.angular + channels * b for b in range(blocks)], axis=1
        )
        made: dict[str, Any] = {"whitened_bias": _padded(-offset)}
        if self.angular:
            made["angular_to_whitened"] = self._of_invariants(invariants, rows)
        for block, part in enumerate(activations):
            made[f"source_{block + self.angular}_to_whitened"] = _padded(part, rows, self.channels)
        return made


def _filled_up(width: int) -> int:
    return -(-width // PAD) * PAD


def _padded(array: np.ndarray, *shape: int) -> np.ndarray:
    """The array, filled up with zeros to a shape, or each axis to whole vectors."""
    wide = np.zeros(shape or [*map(_filled_up, array.shape)])
    wide[tuple(slice(n) for n in array.shape)] = array
    return wide


def _plain(value: Any) -> Any:
    # A copy: some of these arrays are cached, and the caller may change them.
    return float(value) if np.ndim(value) == 0 else np.array(value, dtype=np.float64, order="C")
