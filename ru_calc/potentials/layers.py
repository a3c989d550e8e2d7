"""Parts that several families share: smooth functions of the distance, spherical harmonics, their couplings."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from ru_calc.units import RUTHENIUM

COULOMB_EV_A = 14.399645478
BOHR_A = 0.529177210903


def smooth_step(u: Tensor) -> Tensor:
    """1 − 10u³ + 15u⁴ − 6u⁵ on [0, 1]: from 1 to 0, slope and curvature vanish at both ends; constant outside."""
    u = u.clamp(0.0, 1.0)
    return 1.0 + u * u * u * (-10.0 + u * (15.0 - 6.0 * u))


def envelope(distances: Tensor, cutoff_A: float, switch_A: float) -> Tensor:
    """1 up to `cutoff_A − switch_A`, then `smooth_step` to 0 at `cutoff_A`: (p,) from (p,) distances in Å."""
    return smooth_step((distances - (cutoff_A - switch_A)) / switch_A)


class FixedNumbers(nn.Module):
    """A module with constants that are rounded once, to the dtype it has now.

    Plain buffers that went through float32 would stay rounded in float64, and break invariances at 1e-8.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exact: dict[str, Tensor] = {}

    def register_fixed(self, name: str, values: Tensor) -> None:
        """A buffer that is not stored; `values` is float64."""
        self.exact[name] = values
        self.register_buffer(name, values.to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FixedNumbers:
        super()._apply(fn, recurse)
        for name, values in self.exact.items():
            setattr(self, name, values.to(getattr(self, name)))
        return self


class GaussianBasis(FixedNumbers):
    """Radial basis g_k(r) = exp(−(r − μ_k)² / (2 w²)), μ_k evenly spaced, w their spacing.

    Args:
        n_radial: number of Gaussians.
        start_A, stop_A: first and last centre in Å.
    """

    centers: Tensor

    def __init__(self, n_radial: int, start_A: float, stop_A: float) -> None:
        super().__init__()
        self.register_fixed("centers", torch.linspace(start_A, stop_A, n_radial, dtype=torch.float64))
        self.coefficient = -0.5 / ((stop_A - start_A) / (n_radial - 1)) ** 2

    def forward(self, distances: Tensor) -> Tensor:
        """(p, n_radial) from (p,) distances in Å."""
        return torch.exp(self.coefficient * (distances[:, None] - self.centers).square())


class ZBLCore(nn.Module):
    """Screened nuclear repulsion, faded out over `inner_A … outer_A`, so that colliding atoms turn back.

    E(r) = Z² e² / r · φ(r / a), a = 0.8854 a₀ / (2 Z^0.23), φ the universal screening function of J. F. Ziegler,
    J. P. Biersack and U. Littmark, The Stopping and Range of Ions in Solids (1985).  No parameter is fitted.
    """

    terms = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))

    def __init__(self, inner_A: float, outer_A: float) -> None:
        super().__init__()
        self.inner_A, self.outer_A = inner_A, outer_A
        self.length_A = 0.8854 * BOHR_A / (2.0 * RUTHENIUM**0.23)

    def forward(self, distances: Tensor) -> Tensor:
        """(p,) pair energies in eV from (p,) distances in Å."""
        x = distances / self.length_A
        screening = sum(c * torch.exp(-b * x) for c, b in self.terms)
        fade = smooth_step((distances - self.inner_A) / (self.outer_A - self.inner_A))
        return RUTHENIUM**2 * COULOMB_EV_A / distances * screening * fade


def spherical_harmonics(directions: Tensor, l_max: int) -> Tensor:
    """Real spherical harmonics with Σ_m Y_lm² = 2l + 1, columns l = 0 … l_max, m = −l … l.

    Y_lm ∝ P_l^|m|(z) times the real or imaginary part of (x + iy)^|m|, by the usual upward recurrences in l and m
    (e.g. NIST DLMF 14.10.3), written so that nothing is singular at the poles.

    Args:
        directions: (p, 3) unit vectors.
        l_max: highest degree.

    Returns:
        (p, (l_max + 1)²)
    """
    x, y, z = directions.unbind(dim=1)
    cosine, sine = [torch.ones_like(z)], [torch.zeros_like(z)]
    for _ in range(l_max):
        cosine, sine = cosine + [x * cosine[-1] - y * sine[-1]], sine + [x * sine[-1] + y * cosine[-1]]
    columns: dict[tuple[int, int], Tensor] = {}
    for m in range(l_max + 1):
        legendre = {m: torch.full_like(z, float(math.prod(range(1, 2 * m, 2))))}
        for degree in range(m + 1, l_max + 1):
            upper = (2 * degree - 1) * z * legendre[degree - 1]
            if degree - 2 >= m:
                upper = upper - (degree + m - 1) * legendre[degree - 2]
            legendre[degree] = upper / (degree - m)
        for degree, value in legendre.items():
            norm = math.sqrt((2 * degree + 1) * math.factorial(degree - m) / math.factorial(degree + m))
            norm *= math.sqrt(2.0) if m else 1.0
            columns[degree, m] = norm * value * cosine[m]
            if m:
                columns[degree, -m] = norm * value * sine[m]
    return torch.stack([columns[n, m] for n in range(l_max + 1) for m in range(-n, n + 1)], dim=1)


@cache
def triple_couplings(l_max: int) -> tuple[tuple[tuple[int, int, int], np.ndarray], ...]:
    """Couplings of three real spherical harmonics to a scalar, 1 ≤ l₁ ≤ l₂ ≤ l₃ ≤ l_max, l₁ + l₂ + l₃ even.

    The coefficients are the Gaunt integrals G = ∫ Y_a Y_b Y_c dΩ / 4π, exact by Gauss–Legendre quadrature in cos θ
    and equal steps in φ; scaled so that each coupling has Σ G² = 1.

    Returns:
        For each (l₁, l₂, l₃) the rows (a, b, c, G) of its non-zero coefficients; a, b, c count all (l, m) in order.
    """
    z, weights = np.polynomial.legendre.leggauss(2 * l_max + 2)
    phi = 2 * np.pi * np.arange(4 * l_max + 4) / (4 * l_max + 4)
    z, phi = (part.ravel() for part in np.meshgrid(z, phi, indexing="ij"))
    weights = np.repeat(weights, 4 * l_max + 4) / (2.0 * (4 * l_max + 4))
    rho = np.sqrt(1 - z * z)
    points = torch.from_numpy(np.stack([rho * np.cos(phi), rho * np.sin(phi), z], axis=1))
    values = spherical_harmonics(points, l_max).numpy()
    couplings = []
    for degrees in [
        (a, b, c)
        for a in range(1, l_max + 1)
        for b in range(a, l_max + 1)
        for c in range(b, l_max + 1)
        if c <= a + b and (a + b + c) % 2 == 0
    ]:
        blocks = [values[:, n * n : (n + 1) ** 2] for n in degrees]
        gaunt = np.einsum("p,pa,pb,pc->abc", weights, *blocks)
        gaunt /= np.sqrt((gaunt**2).sum())
        index = np.argwhere(np.abs(gaunt) > 1e-10)
        rows = np.column_stack([index + np.square(degrees), gaunt[tuple(index.T)]])
        couplings.append((degrees, rows))
    return tuple(couplings)


def dense(*widths: int) -> nn.Sequential:
    """Linear layers of the given widths with SiLU between them (none after the last)."""
    layers: list[nn.Module] = []
    for k, (fan_in, fan_out) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        layers += [nn.SiLU()] * (k > 0) + [nn.Linear(fan_in, fan_out)]
    return nn.Sequential(*layers)
