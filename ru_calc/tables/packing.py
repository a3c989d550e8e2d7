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
from ru_calc.tables.harmonics import raising_terms, triple_couplings, triple_terms
from ru_calc.tables.splines import RadialFunction, refine, spline_coefficients

PAD = 16  # widths are filled up with zeros to whole vectors of every instruction set

Weights = Mapping[str, np.ndarray]


class Packing:
    """The numbers of one SchNet, ready to be tabulated with any number of intervals.

    Args:
        settings: the hyper-parameters of the model file.
        weights: its arrays by name.

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

    @property
    def intervals(self) -> int:
        """Of the tables that the network was trained with; 0 where it was trained without."""
        return int(self.settings.get("spline_intervals", 0))

    def choose_intervals(self, wanted: int | None, bound: tuple[float, float]) -> int:
        """Those of the training; else `wanted`; else the fewest with which all tables are within `bound`."""
        return self.intervals or wanted or refine(list(self.functions.values()), self.cutoff_A, bound)

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

    def _w(self, name: str) -> np.ndarray:
        return np.asarray(self._weights[name], dtype=np.float64)

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

    def _outgoing_matrix(self, source: int) -> np.ndarray:
        """D_k: how source k enters x."""
        block = source - self.angular
        return self._w("embedding.dense.2.weight" if block < 0 else f"blocks.{block}.dense2.weight")

    def _energy_pathway(self) -> dict[str, Any]:
        hidden = len(self.settings["readout"])
        head = _filled_up(len(self._w("energy.0.weight")))
        first = self._w("energy.0.weight") @ self._features(self.settings["blocks"]) + self._w("energy.0.bias")
        made: dict[str, Any] = {
            "head": head, "head_bias": _padded(first, head), "head_layers": max(0, hidden - 1),
            "linear_head": hidden == 0, "energy_weight": _padded(np.ones(1), head), "energy_bias": 0.0,
        }  # fmt: skip
        for k in range(hidden - 1):
            weight, bias = (self._w(f"energy.{2 * k + 2}.{part}") for part in ("weight", "bias"))
            made[f"head_dense_{k}"] = _padded(weight, *map(_filled_up, weight.shape))
            made[f"head_bias_{k}"] = _padded(bias, _filled_up(len(bias)))
        if hidden:
            weight = self._w(f"energy.{2 * hidden}.weight")[0]
            made["energy_weight"] = _padded(weight, _filled_up(len(weight)))
            made["energy_bias"] = float(self._w(f"energy.{2 * hidden}.bias")[0])
        return made

    def _filter(self, block: int) -> RadialFunction:
        (w1, b1), (w2, b2) = (
            (self._w(f"blocks.{block}.filter.{k}.weight"), self._w(f"blocks.{block}.filter.{k}.bias")) for k in (0, 2)
        )

        def filters(r: np.ndarray) -> np.ndarray:
            hidden = self._gaussians(r) @ w1.T + b1
            return hidden / (1.0 + np.exp(-hidden)) @ w2.T + b2

        return filters

    def _block(self, block: int) -> dict[str, Any]:
        source, width = block + self.angular, self.channels
        start = self._w(f"blocks.{block}.incoming.weight") @ self._features(block)
        weight, bias = (self._w(f"blocks.{block}.dense1.{part}") for part in ("weight", "bias"))
        made = {f"start_{block}": _padded(start, width)}
        if self.settings["layer_norm"]:
            weight, bias = weight - weight.mean(axis=0), bias - bias.mean()
            made[f"source_{source}_scale"] = _padded(self._w(f"blocks.{block}.norm.weight"), width)
            made[f"source_{source}_offset"] = _padded(self._w(f"blocks.{block}.norm.bias"), width)
        made[f"source_{source}_bias"] = _padded(bias, width)
        filters = self._filter(block)
        if source == 0:
            folded = (weight * start).T
            self.functions[f"filter_{block}"] = lambda r: filters(r) @ folded
        else:
            self.functions[f"filter_{block}"] = filters
            made[f"source_{source}_in"] = _padded(weight, width, width)
        return made

    def _outgoing(self, source: int) -> dict[str, Any]:
        out, width = self._outgoing_matrix(source), self.channels
        made = {f"source_{source}_to_head": _padded(self._w("energy.0.weight") @ out, self._fixed["head"], width)}
        for block in range(source + 1 - self.angular, self.settings["blocks"]):
            into = self._w(f"blocks.{block}.incoming.weight") @ out
            made[f"source_{source}_to_{block}"] = _padded(into, width, width)
        return made

    def _embedding(self) -> dict[str, Any]:
        settings = self.settings
        n, triple, l_max = settings["angular_radial"], settings["triple"], settings["l_max"]
        wide, triple_wide = _filled_up(n), _filled_up(triple)
        self.functions["angular_table"] = lambda r: self._gaussians(r) @ self._w("embedding.radial.weight").T
        mixings = [_padded(self._w("embedding.mix").T, wide, wide)]
        if triple:
            mixings += [_padded(self._w(f"embedding.mix_{k}").T, triple_wide, wide) for k in ("once", "twice")]
        couplings = triple_couplings(l_max) if triple else ()
        first, bias = (self._w(f"embedding.dense.0.{part}") for part in ("weight", "bias"))
        parts = [first[:, : n * (2 * l_max + 3)].reshape(len(first), -1, n)]
        parts.append(first[:, parts[0][0].size :].reshape(len(first), len(couplings), triple))
        widened = [
            _padded(part, self.channels, part.shape[1], _filled_up(part.shape[2])).reshape(self.channels, -1)
            for part in parts
        ]
        return {
            "angular_radial": wide, "l_max": l_max, "triple": triple_wide, "couplings": len(couplings),
            "mix": np.concatenate(mixings), "triple_terms": triple_terms(l_max) if triple else np.zeros((0, 5)),
            "raising_terms": raising_terms(l_max), "source_0_in": np.concatenate(widened, axis=1),
            "source_0_bias": _padded(bias, self.channels),
        }  # fmt: skip


def _filled_up(width: int) -> int:
    return -(-width // PAD) * PAD


def _padded(array: np.ndarray, *shape: int) -> np.ndarray:
    wide = np.zeros(shape)
    wide[tuple(slice(n) for n in array.shape)] = array
    return wide


def _plain(value: Any) -> Any:
    # A copy: some of these arrays are cached, and the caller may change them.
    return float(value) if np.ndim(value) == 0 else np.array(value, dtype=np.float64, order="C")
