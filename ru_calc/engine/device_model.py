"""The arrays of a packed SchNet as tensors on one device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ru_calc.tables.angular import sums_by_degree
from ru_calc.tables.harmonics import InvariantPlan
from ru_calc.tables.smooth import ZBLCore
from ru_calc.tables.splines import RadialGrid

Put = Callable[[np.ndarray], Tensor]


class Source(NamedTuple):
    """s = silu(norm(into · x + bias)), and where it goes; see src/inference/weights.hpp.

    Attributes:
        into: None where the dense layer is part of a table.
        scale, offset: None without normalisation, which counts `width` channels.
        to_block: by block, those that it enters.
        to_whitened: to the whitened features; None in models without an uncertainty, and of the embedding.
    """

    into: Tensor | None
    bias: Tensor
    scale: Tensor | None
    offset: Tensor | None
    width: int
    norm_eps: float
    to_head: Tensor
    to_block: dict[int, Tensor]
    to_whitened: Tensor | None


@dataclass(frozen=True)
class Angular:
    """The angular embedding; the third order Σ G O_a B_b B_c as products of two factors, summed in groups.

    Attributes:
        table: (rows, radial) coefficients of R_n.
        mix: (radial + 2 · triple, radial), M and the two factors of the third order.
        by_degree: (l_max + 1, harmonics) of 1 / (2l + 1).
        products: (2, q) the factors b and c of each product.
        group_factor: (groups,) the factor a of each group; group_sums (groups, q); couple (couplings, groups).
        to_whitened: (k, features), of the invariants to the whitened features; None in models without an uncertainty.
        spread_a, spread_b, spread_c: one-hot, (harmonics, groups) and twice (harmonics, q).
    """

    plan: InvariantPlan
    table: Tensor
    mix: Tensor
    to_whitened: Tensor | None
    by_degree: Tensor
    products: Tensor
    group_factor: Tensor
    group_sums: Tensor
    couple: Tensor
    spread_a: Tensor
    spread_b: Tensor
    spread_c: Tensor


class DeviceModel:
    """A SchNet on a device, from the arrays of `Packing`."""

    def __init__(self, arrays: Mapping[str, Any], dtype: torch.dtype, device: torch.device) -> None:
        def put(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(array)).to(device, torch.int64 if array.dtype == np.int64 else dtype)

        made: dict[str, Any] = {name: put(array) if np.ndim(array) else array for name, array in arrays.items()}
        blocks = range(int(made["blocks"]))
        self.dtype, self.blocks, self.channels = dtype, len(blocks), int(made["channels"])
        self.grid = RadialGrid(made["cutoff"], made["fade"], int(made["intervals"]))
        self.core = ZBLCore(made["core_inner"], made["core_outer"])
        self.filters, self.start = ([made[f"{name}_{b}"] for b in blocks] for name in ("filter", "start"))
        self.angular = _angular(made, put) if made["angular"] else None
        self.sources = [_source(made, k, len(blocks)) for k in range(len(blocks) + (self.angular is not None))]
        layers = range(int(made["head_layers"]))
        self.head_bias = made["head_bias"]
        self.head_dense = [(made[f"head_dense_{k}"], made[f"head_bias_{k}"]) for k in layers]
        self.whitened_bias: Tensor | None = made.get("whitened_bias")
        self.linear_head = bool(made["linear_head"])
        self.energy_weight, self.energy_bias = made["energy_weight"], float(made["energy_bias"])

    @property
    def first_gathered(self) -> int:
        """The first block whose messages depend on features: the one before it starts from atoms that are alike."""
        return 0 if self.angular else 1

    def source_of(self, block: int) -> int:
        """Number of the source that a block's messages make."""
        return block + (self.angular is not None)


def _source(made: dict[str, Any], k: int, blocks: int) -> Source:
    name = f"source_{k}_"
    into, scale, offset = (made.get(name + part) for part in ("in", "scale", "offset"))
    to_block = {b: made[f"{name}to_{b}"] for b in range(blocks) if f"{name}to_{b}" in made}
    width, eps = int(made["width"]), float(made["norm_eps"])
    whitened = made.get(f"{name}to_whitened")
    return Source(into, made[name + "bias"], scale, offset, width, eps, made[name + "to_head"], to_block, whitened)


def _angular(made: dict[str, Any], put: Put) -> Angular:
    plan = InvariantPlan(int(made["angular_radial"]), int(made["l_max"]), int(made["triple"]))
    return Angular(
        plan=plan, table=made["angular_table"], mix=made["mix"], to_whitened=made.get("angular_to_whitened"),
        by_degree=put(sums_by_degree(plan.l_max).values),
        **{name: put(array) for name, array in _coupling_matrices(plan.terms, (plan.l_max + 1) ** 2).items()},
    )  # fmt: skip


def _coupling_matrices(terms: np.ndarray, harmonics: int) -> dict[str, np.ndarray]:
    """The third order as few dense matrices: products of two factors, groups of products, couplings of groups."""
    index = terms[:, :4].astype(np.int64)
    (coupling, factor), group = _distinct(index[:, :2])
    (b, c), product = _distinct(index[:, 2:])
    sums = np.zeros((len(factor), len(b)))
    sums[group, product] = terms[:, 4]
    every = np.arange(harmonics)[:, None]
    return {
        "products": np.stack([b, c]), "group_factor": factor, "group_sums": sums,
        "couple": np.arange(coupling.max(initial=-1) + 1)[:, None] == coupling,
        "spread_a": every == factor, "spread_b": every == b, "spread_c": every == c,
    }  # fmt: skip


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the distinct rows, and which of them each row is."""
    distinct, which = np.unique(rows, axis=0, return_inverse=True)
    return distinct.T, which.ravel()
