"""The arrays of a packed SchNet as tensors on one device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

Arrays = Mapping[str, Any]


class Grid(NamedTuple):
    """Where the tables lie and what the envelope is: lengths in Å."""

    cutoff: float
    fade: float
    step: float
    intervals: int


class Core(NamedTuple):
    """Numbers of the ZBL core; see ZBLCore in potentials/layers.py."""

    inner: float
    outer: float
    length: float
    strength: float


class Source(NamedTuple):
    """s = silu(norm(into · x + bias)), and where it goes; see model.hpp.

    Attributes:
        into: None where the dense layer is part of a table.
        scale, offset: None without normalisation.
        to_block: by block, those that it enters.
    """

    into: Tensor | None
    bias: Tensor
    scale: Tensor | None
    offset: Tensor | None
    to_head: Tensor
    to_block: dict[int, Tensor]


class Raising(NamedTuple):
    """Y_out += weight · direction_axis · Y_in; axes count y, z, x."""

    out: int
    axis: int
    into: int
    weight: float


class Triple(NamedTuple):
    """f_coupling += weight · O_a · B_b · B_c."""

    coupling: int
    a: int
    b: int
    c: int
    weight: float


@dataclass(frozen=True)
class Angular:
    """The angular embedding.

    Attributes:
        table: (rows, radial) coefficients of R_n.
        mix: (radial + 2 · triple, radial), M and the two factors of the third order.
        raising, triples: the terms, as plain numbers for code that unrolls them.
        raise_degree: by degree l ≥ 1, (3 · (2l + 1), 2l + 3): the terms as matrices.
        by_degree: (l_max + 1, harmonics) of 1 / (2l + 1).
        products: (2, q) the factors b and c of each product of two.
        group_factor: (groups,) the factor a of each group; group_sums (groups, q); couple (couplings, groups).
        spread_a, spread_b, spread_c: one-hot, (harmonics, groups) and twice (harmonics, q).
    """

    table: Tensor
    mix: Tensor
    radial: int
    l_max: int
    triple: int
    couplings: int
    raising: tuple[Raising, ...]
    triples: tuple[Triple, ...]
    raise_degree: tuple[Tensor, ...]
    by_degree: Tensor
    products: Tensor
    group_factor: Tensor
    group_sums: Tensor
    couple: Tensor
    spread_a: Tensor
    spread_b: Tensor
    spread_c: Tensor

    @property
    def harmonics(self) -> int:
        return (self.l_max + 1) ** 2


class DeviceModel:
    """A SchNet on a device.

    Args:
        arrays: of `Packing.arrays`.
        dtype, device: of the tensors.
    """

    def __init__(self, arrays: Arrays, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device

        def tensor(name: str) -> Any:
            found = arrays.get(name)
            return None if found is None else torch.from_numpy(found).to(device, dtype)

        self.channels, self.width = int(arrays["channels"]), int(arrays["width"])
        self.blocks, self.head = int(arrays["blocks"]), int(arrays["head"])
        self.norm_eps = float(arrays["norm_eps"])
        intervals, cutoff = int(arrays["intervals"]), float(arrays["cutoff"])
        self.grid = Grid(cutoff, float(arrays["fade"]), cutoff / intervals, intervals)
        self.core = Core(*(float(arrays[f"core_{name}"]) for name in Core._fields))
        self.filters = [tensor(f"filter_{b}") for b in range(self.blocks)]
        self.start = [tensor(f"start_{b}") for b in range(self.blocks)]
        self.angular = _angular(arrays, tensor, dtype, device) if arrays["angular"] else None
        self.sources = [self._source(k, tensor) for k in range(self.blocks + (self.angular is not None))]
        self.head_bias = tensor("head_bias")
        layers = range(int(arrays["head_layers"]))
        self.head_dense = [(tensor(f"head_dense_{k}"), tensor(f"head_bias_{k}")) for k in layers]
        self.linear_head = bool(arrays["linear_head"])
        self.energy_weight = tensor("energy_weight")
        self.energy_bias = float(arrays["energy_bias"])

    @property
    def first_gathered(self) -> int:
        """The first block whose messages depend on features: the one before it starts from atoms that are alike."""
        return 0 if self.angular else 1

    def source_of(self, block: int) -> int:
        """Number of the source that a block's messages make."""
        return block + (self.angular is not None)

    def _source(self, k: int, tensor: Any) -> Source:
        name = f"source_{k}_"
        into = {b: tensor(f"{name}to_{b}") for b in range(self.blocks)}
        return Source(
            into=tensor(name + "in"), bias=tensor(name + "bias"), scale=tensor(name + "scale"),
            offset=tensor(name + "offset"), to_head=tensor(name + "to_head"),
            to_block={b: matrix for b, matrix in into.items() if matrix is not None},
        )  # fmt: skip


def _angular(arrays: Arrays, tensor: Any, dtype: torch.dtype, device: torch.device) -> Angular:
    l_max = int(arrays["l_max"])
    degree = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
    raising = tuple(Raising(int(q), int(a), int(p), float(w)) for q, a, p, w in arrays["raising_terms"])
    triples = tuple(Triple(int(k), int(a), int(b), int(c), float(w)) for k, a, b, c, w in arrays["triple_terms"])

    def put(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, dtype if array.dtype.kind == "f" else None)

    return Angular(
        table=tensor("angular_table"), mix=tensor("mix"), radial=int(arrays["angular_radial"]), l_max=l_max,
        triple=int(arrays["triple"]), couplings=int(arrays["couplings"]), raising=raising, triples=triples,
        raise_degree=tuple(put(_raising_matrix(raising, n)) for n in range(1, l_max)),
        by_degree=put((degree == np.arange(l_max + 1)[:, None]) / (2.0 * degree + 1.0)),
        **{name: put(array) for name, array in _coupling_matrices(triples, len(degree)).items()},
    )  # fmt: skip


def _raising_matrix(terms: tuple[Raising, ...], degree: int) -> np.ndarray:
    matrix = np.zeros((3, 2 * degree + 1, 2 * degree + 3))
    for term in terms:
        if degree**2 <= term.into < (degree + 1) ** 2:
            matrix[term.axis, term.into - degree**2, term.out - (degree + 1) ** 2] = term.weight
    return matrix.reshape(-1, 2 * degree + 3)


def _coupling_matrices(terms: tuple[Triple, ...], harmonics: int) -> dict[str, np.ndarray]:
    """The third order as few dense matrices: products of two factors, groups of products, couplings of groups."""
    products = sorted({(term.b, term.c) for term in terms})
    groups = sorted({(term.coupling, term.a) for term in terms})
    sums = np.zeros((len(groups), len(products)))
    for term in terms:
        sums[groups.index((term.coupling, term.a)), products.index((term.b, term.c))] = term.weight
    pairs = np.array(products, dtype=np.int64).reshape(-1, 2).T
    coupling, factor = np.array(groups, dtype=np.int64).reshape(-1, 2).T
    every = np.arange(harmonics)[:, None]
    return {
        "products": pairs, "group_factor": factor, "group_sums": sums,
        "couple": (np.arange(coupling.max(initial=-1) + 1)[:, None] == coupling).astype(float),
        "spread_a": (every == factor).astype(float), "spread_b": (every == pairs[0]).astype(float),
        "spread_c": (every == pairs[1]).astype(float),
    }  # fmt: skip
