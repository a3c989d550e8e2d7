"""Real spherical harmonics, the recursion from degree to degree, and couplings of three to a scalar."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement

import numpy as np
from scipy.special import sph_harm_y


def degrees(l_max: int) -> np.ndarray:
    """((l_max + 1)²,) degree l of each harmonic, in the order m = −l … l of l = 0 … l_max."""
    return np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)


@cache
def harmonic_coefficients(degree: int) -> np.ndarray:
    """(2l + 3, 3, 2l + 1) coefficients that make Y_(l+1) from products of y, z, x and Y_l, for l = `degree`."""
    points, weights = sphere_quadrature(degree + 1)
    values = [legendre_harmonics(points, degree + k) for k in (0, 1)]
    lower, upper = values[0][:, degree**2 :], values[1][:, (degree + 1) ** 2 :]
    projection = np.einsum("p,pc,pa,pb->cab", weights, upper, points[:, [1, 2, 0]], lower)
    made = np.einsum("cab,pa,pb->pc", projection, points[:, [1, 2, 0]], lower)
    return projection * (made * upper).sum() / (made**2).sum()


def legendre_harmonics(points: np.ndarray, l_max: int) -> np.ndarray:
    """Real spherical harmonics with Σ_m Y_lm² = 2l + 1 of unit vectors (p, 3): (p, (l_max + 1)²), m = −l … l.

    By associated Legendre polynomials (SciPy); only used to set up constants.
    """
    theta, phi = np.arccos(np.clip(points[:, 2], -1, 1)), np.arctan2(points[:, 1], points[:, 0])
    columns = []
    for degree in range(l_max + 1):
        for m in range(-degree, degree + 1):
            value = (-1.0) ** m * sph_harm_y(degree, abs(m), theta, phi)
            columns.append(np.sqrt(4 * np.pi) * (value.imag if m < 0 else value.real) * (np.sqrt(2) if m else 1.0))
    return np.stack(columns, axis=1)


def sphere_quadrature(l_max: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (p, 3) and weights (p,), summing to 1, exact for products of three harmonics up to `l_max`."""
    z, weights = np.polynomial.legendre.leggauss(2 * l_max + 2)
    n_phi = 4 * l_max + 4
    z, phi = (part.ravel() for part in np.meshgrid(z, 2 * np.pi * np.arange(n_phi) / n_phi, indexing="ij"))
    rho = np.sqrt(1 - z * z)
    return np.stack([rho * np.cos(phi), rho * np.sin(phi), z], axis=1), np.repeat(weights, n_phi) / (2.0 * n_phi)


@cache
def coupled_degrees(l_max: int) -> tuple[tuple[int, int, int], ...]:
    """The degrees 1 ≤ l₁ ≤ l₂ ≤ l₃ ≤ l_max that couple to a scalar: l₃ ≤ l₁ + l₂, and l₁ + l₂ + l₃ even."""
    all_degrees = combinations_with_replacement(range(1, l_max + 1), 3)
    return tuple((a, b, c) for a, b, c in all_degrees if c <= a + b and (a + b + c) % 2 == 0)


@cache
def triple_couplings(l_max: int) -> tuple[tuple[tuple[int, int, int], np.ndarray], ...]:
    """Couplings of three real spherical harmonics to a scalar, by the `coupled_degrees`.

    The coefficients are the Gaunt integrals G = ∫ Y_a Y_b Y_c dΩ / 4π, exact by Gauss–Legendre quadrature in cos θ
    and equal steps in φ; scaled so that each coupling has Σ G² = 1.

    Returns:
        For each (l₁, l₂, l₃) the rows (a, b, c, G) of its non-zero coefficients; a, b, c count all (l, m) in order.
    """
    points, weights = sphere_quadrature(l_max)
    values = legendre_harmonics(points, l_max)
    couplings = []
    for degrees in coupled_degrees(l_max):
        blocks = [values[:, n * n : (n + 1) ** 2] for n in degrees]
        gaunt = np.einsum("p,pa,pb,pc->abc", weights, *blocks)
        gaunt /= np.sqrt((gaunt**2).sum())
        index = np.argwhere(np.abs(gaunt) > 1e-10)
        rows = np.column_stack([index + np.square(degrees), gaunt[tuple(index.T)]])
        couplings.append((degrees, rows))
    return tuple(couplings)


@cache
def triple_terms(l_max: int) -> np.ndarray:
    """Rows (coupling, a, b, c, G) of all `triple_couplings`, sorted, for two factors b and c that are alike: b ≤ c."""
    rows: dict[tuple[int, ...], float] = {}
    for k, (_, terms) in enumerate(triple_couplings(l_max)):
        for a, b, c, weight in terms:
            key = (k, int(a), *sorted((int(b), int(c))))
            rows[key] = rows.get(key, 0.0) + weight
    return np.array([(*key, rows[key]) for key in sorted(rows)], dtype=float).reshape(-1, 5)


@cache
def raising_terms(l_max: int) -> np.ndarray:
    """Rows (out, axis, in, weight) of Y_out += weight · direction_axis · Y_in, degree after degree; axes y, z, x."""
    rows = []
    for degree in range(1, l_max):
        matrix = harmonic_coefficients(degree)
        for out, axis, into in np.argwhere(np.abs(matrix) > 1e-12):
            rows.append(((degree + 1) ** 2 + out, axis, degree**2 + into, matrix[out, axis, into]))
    return np.array(rows, dtype=float).reshape(-1, 4)


@dataclass(frozen=True)
class InvariantPlan:
    """Which invariants of the density A are formed, for mixings MA, O and B of its radial index.

    A_00; for each degree Σ_m A² and Σ_m A (MA), both over 2l + 1; for each coupling G of `triple_couplings`
    Σ G O_a B_b B_c.

    Attributes:
        radial, l_max, triple: radial functions, highest degree, channels of the third order (0 leaves it out).
    """

    radial: int
    l_max: int
    triple: int

    @property
    def couplings(self) -> int:
        """Number of couplings of three harmonics."""
        return len(coupled_degrees(self.l_max)) if self.triple else 0

    @property
    def features(self) -> int:
        """Number of invariants."""
        return self.radial * (2 * self.l_max + 3) + self.triple * self.couplings

    @property
    def terms(self) -> np.ndarray:
        """Rows (coupling, a, b, c, G)."""
        return triple_terms(self.l_max) if self.triple else np.zeros((0, 5))
