"""Hyper-parameters of the anchored families and of SchNet, with their ranges; nothing here needs torch.

A model file is checked by them before anything is allocated, and the compiled engine reads no more than this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from reprlib import repr
from typing import Any, ClassVar

from ru_calc.errors import SettingsError, require
from ru_calc.tables.harmonics import InvariantPlan

LEAST_INTERVALS = 16
MOST_DEGREE = 12  # setting up the third-order invariants takes a minute beyond
LONGEST_A = 15.0
WIDEST, DEEPEST = 1024, 16


def tuples(settings: Any) -> None:
    """Turns lists, as JSON has them, among the fields of a frozen dataclass into tuples."""
    for name, value in vars(settings).items():
        if isinstance(value, list):
            object.__setattr__(settings, name, tuple(value))


def check_ranges(settings: Any) -> None:
    """Holds the fields of a dataclass to `least` and `most` of its class and of the classes it derives from.

    Raises:
        SettingsError: a number, or an entry of a tuple, that is outside its range or not finite; too long a tuple.
    """
    for name, value in vars(settings).items():
        entries = value if isinstance(value, tuple) else (value,)
        for number in entries:
            require(not isinstance(number, float) or math.isfinite(number), name, value, "finite")
        require(len(entries) <= DEEPEST, name, f"{len(entries)} widths", f"at most {DEEPEST} of them")
    for kind in type(settings).__mro__:
        for name, smallest in vars(kind).get("least", {}).items():
            value = getattr(settings, name)
            lowest = min(value, default=smallest) if isinstance(value, tuple) else value
            require(lowest >= smallest, name, repr(value), f"at least {smallest}")
        for name, largest in vars(kind).get("most", {}).items():
            value = getattr(settings, name)
            highest = max(value, default=largest) if isinstance(value, tuple) else value
            require(highest <= largest, name, repr(value), f"at most {largest}")


@dataclass(frozen=True)
class AnchoredSettings:
    """Hyper-parameters that every `AnchoredPotential` has; `least` and `most` are bounds of those of a family, and of
    all entries of tuples.

    Attributes:
        cutoff_A, switch_A: interaction range, and the width of its last part over which an envelope falls to zero.
        core_inner_A, core_outer_A: the ZBL core acts in full below the first and vanishes above the second.
        atom_energy_eV: energy of an isolated atom at the labels' level of theory; if it is 0, a fit takes it from the
            data.
    """

    least: ClassVar[dict[str, float]] = {"atom_energy_eV": -1e6}
    most: ClassVar[dict[str, float]] = {"atom_energy_eV": 1e6, "cutoff_A": LONGEST_A}
    cutoff_A: float = 5.0
    switch_A: float = 1.2
    core_inner_A: float = 1.0
    core_outer_A: float = 1.8
    atom_energy_eV: float = 0.0

    def __post_init__(self) -> None:
        tuples(self)
        check_ranges(self)
        if not 0 < self.switch_A < self.cutoff_A:
            raise SettingsError(f"switch_A is {self.switch_A}; it must lie between 0 and cutoff_A ({self.cutoff_A})")
        if not 0 <= self.core_inner_A < self.core_outer_A <= self.cutoff_A:
            raise SettingsError(
                f"core_inner_A is {self.core_inner_A} and core_outer_A {self.core_outer_A}; they must satisfy 0 ≤ "
                f"core_inner_A < core_outer_A ≤ cutoff_A ({self.cutoff_A})"
            )


@dataclass(frozen=True)
class SchNetSettings(AnchoredSettings):
    """Hyper-parameters: what all conservative families share, and

    Attributes:
        channels, blocks: width of the atom features, number of interaction blocks.
        n_radial: number of Gaussians of the distance.
        filter_hidden: width of the filter network's hidden layer.
        readout: hidden widths of the energy pathway.
        angular: start from the angular embedding; without it the network is plain SchNet.
        angular_radial, l_max: radial functions and highest degree of the angular embedding.
        triple: radial channels of the third-order invariants; 0 leaves them out.
        layer_norm: normalise inside each block.
        spline_intervals: of the tables that filters and radial functions are read from; 0 evaluates their networks at
            every pair.
    """

    least: ClassVar[dict[str, float]] = {
        "channels": 2, "n_radial": 2, "filter_hidden": 2, "angular_radial": 2, "l_max": 1, "blocks": 0, "triple": 0,
        "readout": 1, "spline_intervals": 0,
    }  # fmt: skip
    most: ClassVar[dict[str, float]] = {
        "channels": WIDEST, "n_radial": WIDEST, "filter_hidden": WIDEST, "angular_radial": 128, "l_max": MOST_DEGREE,
        "blocks": DEEPEST, "triple": 128, "readout": WIDEST, "spline_intervals": 2048,
    }  # fmt: skip
    cutoff_A: float = 5.5
    switch_A: float = 1.4
    channels: int = 64
    blocks: int = 1
    n_radial: int = 20
    filter_hidden: int = 64
    readout: tuple[int, ...] = (64,)
    angular: bool = True
    angular_radial: int = 16
    l_max: int = 6
    triple: int = 16
    layer_norm: bool = False
    spline_intervals: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        tables = not 0 < self.spline_intervals < LEAST_INTERVALS
        require(tables, "spline_intervals", self.spline_intervals, f"0 (no tables) or at least {LEAST_INTERVALS}")

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each weight of the network."""
        width, made = self.channels, dict[str, tuple[int, ...]]()

        def layer(name: str, fan_in: int, fan_out: int) -> None:
            made[f"{name}.weight"], made[f"{name}.bias"] = (fan_out, fan_in), (fan_out,)

        def layers(name: str, *widths: int) -> None:
            for k, (fan_in, fan_out) in enumerate(pairwise(widths)):
                layer(f"{name}.{2 * k}", fan_in, fan_out)

        if self.angular:
            n, triple = self.angular_radial, self.triple
            made |= {"embedding.radial.weight": (n, self.n_radial), "embedding.mix": (n, n)}
            made |= {f"embedding.mix_{k}": (n, triple) for k in ("once", "twice") if triple}
            layers("embedding.dense", InvariantPlan(n, self.l_max, triple).features, width, width)
        else:
            made["embedding.weight"] = (1, width)
        for k in range(self.blocks):
            layers(f"blocks.{k}.filter", self.n_radial, self.filter_hidden, width)
            made[f"blocks.{k}.incoming.weight"] = (width, width)
            layer(f"blocks.{k}.dense1", width, width)
            layer(f"blocks.{k}.dense2", width, width)
            if self.layer_norm:
                made |= {f"blocks.{k}.norm.{part}": (width,) for part in ("weight", "bias")}
        layers("energy", width, *self.readout, 1)
        return made

    @property
    def features(self) -> int:
        """Width of what an uncertainty judges an atom by."""
        angular = InvariantPlan(self.angular_radial, self.l_max, self.triple).features if self.angular else 0
        return angular + self.blocks * self.channels
