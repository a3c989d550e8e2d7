// The angular density of all atoms, A_i,lm,n = Σ_j R_n(r_ij) Y_lm(r̂_ij), and its derivatives.
#pragma once
#include <algorithm>
#include <vector>

#include "../common/harmonics.hpp"
#include "pairs.hpp"

namespace ru::training {

// The slopes (y, z, x of a direction change with dd) of the harmonics `value`; both in lanes, one harmonic after
// another.
template <class T> inline void harmonic_slopes(int l_max, const Raising<T>& raising, const Vec<T>* d,
                                               const Vec<T> (*dd)[3], const Vec<T>* value, Vec<T>* slopes) {
    using V = Vec<T>;
    const int count = (l_max + 1) * (l_max + 1);
    std::fill_n(slopes, 3 * count, V{});
    for (int k = 0; k < 3 && l_max > 0; ++k)
        for (int a = 0; a < 3; ++a) slopes[a * count + 1 + k] = T(kFirstDegree) * dd[k][a];
    for (const auto& term : raising) {
        const V weighted = term.weight * d[term.axis], in = term.weight * value[term.in];
        for (int a = 0; a < 3; ++a)
            slopes[a * count + term.out] += weighted * slopes[a * count + term.in] + in * dd[term.axis][a];
    }
}

// Y (n, harmonics) of the directions of vectors (n, 3), and their derivatives by the vectors (n, 3, harmonics); several
// pairs at once, one in each lane.
template <class T> void pair_harmonics(int64_t n, const T* vectors, int l_max, const Raising<T>& raising, T* y, T* dy) {
    using V = Vec<T>;
    constexpr int L = lanes<T>, cyclic[3] = {1, 2, 0};
    const int count = (l_max + 1) * (l_max + 1);
    std::vector<V> value(count), slopes(3 * size_t(count));
    for (int64_t p = 0; p < n; p += L) {
        const int here = int(std::min<int64_t>(L, n - p));
        V v[3], d[3], dd[3][3];  // vector; direction by axis, and its derivative by the component
        for (int a = 0; a < 3; ++a)
            for (int k = 0; k < L; ++k) v[a][k] = vectors[3 * (p + std::min(k, here - 1)) + a];
        const V inverse = T(1) / square_root<T>(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
        for (int k = 0; k < 3; ++k) d[k] = v[cyclic[k]] * inverse;
        for (int k = 0; k < 3; ++k)
            for (int a = 0; a < 3; ++a) dd[k][a] = (T(cyclic[k] == a) - d[k] * v[a] * inverse) * inverse;
        harmonics<T>(l_max, raising, d, reinterpret_cast<T*>(value.data()), L);
        harmonic_slopes<T>(l_max, raising, d, dd, value.data(), slopes.data());
        for (int k = 0; k < here; ++k) {
            for (int q = 0; q < count; ++q) y[(p + k) * count + q] = value[q][k];
            for (int q = 0; q < 3 * count; ++q) dy[3 * (p + k) * count + q] = slopes[q][k];
        }
    }
}

// Harmonics of the pairs, for the density A_i,lm,n = Σ_j R_n(r_ij) Y_lm(r̂_ij); parity is (−1)^l by lm.
template <class T> struct Sphere {
    int harmonics;
    const T *y, *dy, *units, *parity;
};

// Where vector p moves along `to`: the change of its length, and in `turned` that of its harmonics.
template <class T> inline T move(const Sphere<T>& on, int64_t p, const T* to, T* turned) {
    const T *dy = on.dy + 3 * p * on.harmonics, *unit = on.units + 3 * p;
    for (int k = 0; k < on.harmonics; ++k)
        turned[k] = to[0] * dy[k] + to[1] * dy[on.harmonics + k] + to[2] * dy[2 * on.harmonics + k];
    return to[0] * unit[0] + to[1] * unit[1] + to[2] * unit[2];
}

// d (atoms, harmonics, n) += R Y.  With u (pairs, 3): the change of that where r_ij moves along u_ij.
template <class T, bool Tangent>
void add_density(const PairList<T>& pairs, const Sphere<T>& on, const T* u, const T* table, int n, T* d) {
    std::vector<T> turned(on.harmonics);
    over_width<T, 1>(n, [&](auto v, auto, int c0) {
        using V = decltype(v);
        for (int64_t p = 0; p < pairs.n; ++p) {
            const T *rows = table + pairs.interval[p] * n + c0, *w = pairs.weights + p * kWeights;
            const T* y = on.y + p * on.harmonics;
            V value = filter<T, V>(rows, n, w), slope{};
            if constexpr (Tangent) {
                slope = filter<T, V>(rows, n, w + kSplines) * move(on, p, u + 3 * p, turned.data());
            }
            T* di = d + pairs.first[p] * on.harmonics * n + c0;
            T* dj = d + pairs.second[p] * on.harmonics * n + c0;
            for (int k = 0; k < on.harmonics; ++k) {
                V add = Tangent ? slope * y[k] + value * turned[k] : value * y[k];
                write<T, V>(di + k * n, read<T, V>(di + k * n) + add);
                write<T, V>(dj + k * n, read<T, V>(dj + k * n) + add * on.parity[k]);
            }
        }
    });
}

// Σ_lm Y_lm (Ā_i + (−1)^l Ā_j)_lm of a pair, for Directions coefficients at once: Y itself, then those of `more`.
template <class T, class V, int Directions>
inline void project(const Sphere<T>& on, const T* bi, const T* bj, int n, const T* const* coefficients, V* out) {
    for (int a = 0; a < Directions; ++a) out[a] = V{};
    for (int k = 0; k < on.harmonics; ++k) {
        const V b = read<T, V>(bi + k * n) + on.parity[k] * read<T, V>(bj + k * n);
#pragma GCC unroll 4
        for (int a = 0; a < Directions; ++a) out[a] += coefficients[a][k] * b;
    }
}

// g (pairs, 3) += ∂/∂r_ij ⟨Ā, density⟩
template <class T>
void add_slopes(const PairList<T>& pairs, const Sphere<T>& on, const T* bar, const T* table, int n, T* g) {
    over_width<T, 1>(n, [&](auto v, auto, int c0) {
        using V = decltype(v);
        for (int64_t p = 0; p < pairs.n; ++p) {
            const T *rows = table + pairs.interval[p] * n + c0, *w = pairs.weights + p * kWeights;
            const T* dy = on.dy + 3 * p * on.harmonics;
            const T* coefficients[4] = {on.y + p * on.harmonics, dy, dy + on.harmonics, dy + 2 * on.harmonics};
            const T* bi = bar + pairs.first[p] * on.harmonics * n + c0;
            const T* bj = bar + pairs.second[p] * on.harmonics * n + c0;
            V sums[4];
            project<T, V, 4>(on, bi, bj, n, coefficients, sums);
            const V value = filter<T, V>(rows, n, w);
            const T along = total<T, V>(filter<T, V>(rows, n, w + kSplines) * sums[0]);
            for (int a = 0; a < 3; ++a) g[3 * p + a] += along * on.units[3 * p + a] + total<T, V>(value * sums[1 + a]);
        }
    });
}

// table (rows, n) += ∂/∂C ⟨Ā, density⟩; with u, of the density's change along u.
template <class T, bool Tangent>
void add_to_table(const PairList<T>& pairs, const Sphere<T>& on, const T* u, const T* bar, int n, T* table) {
    std::vector<T> turned(on.harmonics);
    over_width<T, 1>(n, [&](auto v, auto, int c0) {
        using V = decltype(v);
        for (int64_t p = 0; p < pairs.n; ++p) {
            const T* w = pairs.weights + p * kWeights;
            const T *bi = bar + pairs.first[p] * on.harmonics * n + c0,
                    *bj = bar + pairs.second[p] * on.harmonics * n + c0;
            T along = 0;
            const T* coefficients[2] = {on.y + p * on.harmonics, turned.data()};
            if constexpr (Tangent) {
                along = move(on, p, u + 3 * p, turned.data());
            }
            V sums[2];
            project<T, V, Tangent ? 2 : 1>(on, bi, bj, n, coefficients, sums);
            T* rows = table + pairs.interval[p] * n + c0;
#pragma GCC unroll 6
            for (int q = 0; q < kSplines; ++q) {
                V add = Tangent ? (along * w[kSplines + q]) * sums[0] + w[q] * sums[1] : w[q] * sums[0];
                write<T, V>(rows + q * n, read<T, V>(rows + q * n) + add);
            }
        }
    });
}

}  // namespace ru::training
