// The angular density of one atom, A_n,lm = Σ_j R_n(r_ij) Y_lm(r̂_ij), and its reverse.
#pragma once
#include "filters.hpp"

namespace ru::inference {

#if RU_VECTOR_BYTES == 64
constexpr int kAdjoint = 8;
#else
constexpr int kAdjoint = 4;
#endif

// What one thread keeps of the pairs of one atom.  Pairs lie along rows of kMost, radial functions of a pair together.
template <class T> struct DensityScratch {
    Buffer<T> y, y_bar, radial, radial_slope, by_pair, slope_by_pair;
    Buffer<T> gradient[3];  // ∂E/∂r_ij

    void reserve(const Angular<T>& e) {
        y.ensure(size_t(e.harmonics) * kMost), y_bar.ensure(size_t(e.harmonics) * kMost);
        // Whole vectors are read, also beyond the last pair; what lay there might be denormal numbers, which are slow.
        radial.ensure_zeros(size_t(e.radial) * kMost), radial_slope.ensure_zeros(size_t(e.radial) * kMost);
        by_pair.ensure(size_t(e.radial) * kMost), slope_by_pair.ensure(size_t(e.radial) * kMost);
        for (auto& part : gradient) part.ensure(kMost);
    }
    size_t bytes() const {
        size_t total = 0;
        for (const auto* b : {&y, &y_bar, &radial, &radial_slope, &by_pair, &slope_by_pair}) total += b->bytes();
        for (const auto& part : gradient) total += part.bytes();
        return total;
    }
};

// Y[lm][pair] of the directions.
template <class T> inline void pair_harmonics(const Angular<T>& e, const Geometry<T>& pairs, Span span, T* y) {
    for (int p = 0; p < span.n; p += lanes<T>) {
        Vec<T> d[3];
        pairs.directions(span.begin + p, d);
        harmonics<T>(e.l_max, e.raising, d, y + p, kMost);
    }
}

// R_n of each pair, n along the vector: radial[pair][n], and the slopes where they are wanted.  A function of its own,
// as `add_density` is: inlined into the pass over atoms, their loops run short of registers (5 to 10 % of the
// energies).
template <class T> __attribute__((noinline)) void radial_functions(const Angular<T>& e, const Geometry<T>& pairs,
                                                                   const FilterWeights<T>& w, Span span, T* value,
                                                                   T* slope) {
    constexpr int L = lanes<T>;
    for (int p = 0; p < span.n; ++p) {
        const T* rows = e.table.rows.get() + size_t(pairs.interval.get()[span.begin + p]) * e.radial;
        for (int c = 0; c < e.radial; c += L) {
            Vec<T> f{}, df{};
#pragma GCC unroll 6
            for (int q = 0; q < kSplines; ++q) {
                const Vec<T> row = load<T>(rows + q * e.radial + c);
                f += w.value[q][p] * row;
                if (slope) df += w.slope[q][p] * row;
            }
            store<T>(value + p * e.radial + c, f);
            if (slope) store<T>(slope + p * e.radial + c, df);
        }
    }
}

// a[lm][n] += Σ_pairs Y[lm][pair] R[pair][n], KH harmonics at a time.
template <class T, int KH>
inline void density_chunk(const Angular<T>& e, int n, int lm, const T* y, const T* value, T* a) {
    constexpr int L = lanes<T>;
    for (int c = 0; c < e.radial; c += L) {
        Vec<T> acc[KH];
#pragma GCC unroll 16
        for (int k = 0; k < KH; ++k) acc[k] = load<T>(a + (lm + k) * e.radial + c);
        for (int p = 0; p < n; ++p) {
            const Vec<T> f = load<T>(value + p * e.radial + c);
#pragma GCC unroll 16
            for (int k = 0; k < KH; ++k) acc[k] += y[(lm + k) * kMost + p] * f;
        }
#pragma GCC unroll 16
        for (int k = 0; k < KH; ++k) store<T>(a + (lm + k) * e.radial + c, acc[k]);
    }
}

template <class T>
__attribute__((noinline)) void add_density(const Angular<T>& e, int n, const T* y, const T* value, T* a) {
    int lm = 0;
    for (; lm + 8 <= e.harmonics; lm += 8) density_chunk<T, 8>(e, n, lm, y, value, a);
    for (; lm < e.harmonics; ++lm) density_chunk<T, 1>(e, n, lm, y, value, a);
}

// [pair][n] -> [n][pair]
template <class T> inline void by_pairs(int n, int radial, const T* from, T* to) {
    constexpr int L = lanes<T>;
    for (int p = 0; p < n; p += L)
        for (int c = 0; c < radial; c += L) {
            Vec<T> rows[L];
#pragma GCC unroll 16
            for (int k = 0; k < L; ++k) rows[k] = load<T>(from + (p + k) * radial + c);
            transpose<T>(rows);
#pragma GCC unroll 16
            for (int k = 0; k < L; ++k) store<T>(to + (c + k) * kMost + p, rows[k]);
        }
}

// For KH harmonics from lm on, the adjoints Σ_n Ā_n,lm R_n of Y_lm; adds Σ_lm Y_lm Σ_n Ā_n,lm R'_n to `along`.
template <class T, int KH>
inline void adjoint_chunk(const Angular<T>& e, int lm, int p, const T* a_bar, DensityScratch<T>& s, Vec<T>& along) {
    const T *value = s.by_pair.get() + p, *slope = s.slope_by_pair.get() + p;
    Vec<T> f[KH], df[KH];
#pragma GCC unroll 8
    for (int k = 0; k < KH; ++k) f[k] = df[k] = Vec<T>{};
    for (int n = 0; n < e.radial; ++n) {
        const Vec<T> v = load<T>(value + n * kMost), d = load<T>(slope + n * kMost);
#pragma GCC unroll 8
        for (int k = 0; k < KH; ++k) {
            const Vec<T> a = splat<T>(a_bar[(lm + k) * e.radial + n]);
            f[k] += a * v, df[k] += a * d;
        }
    }
#pragma GCC unroll 8
    for (int k = 0; k < KH; ++k) {
        store<T>(s.y_bar.get() + (lm + k) * kMost + p, f[k]);
        along += df[k] * load<T>(s.y.get() + (lm + k) * kMost + p);
    }
}

// Derivatives by the direction from those by Y: the recursion of the harmonics run backwards; uses up y_bar.
template <class T>
inline void harmonics_reverse(const Angular<T>& e, const Vec<T>* d, const T* y, T* y_bar, Vec<T>* d_bar) {
    for (size_t q = e.raising.size(); q-- > 0;) {
        const auto& term = e.raising[q];
        const Vec<T> out = term.weight * load<T>(y_bar + term.out * kMost);
        T* in = y_bar + term.in * kMost;
        d_bar[term.axis] += out * load<T>(y + term.in * kMost);
        store<T>(in, load<T>(in) + out * d[term.axis]);
    }
    for (int a = 0; a < 3 && e.l_max > 0; ++a) d_bar[a] += T(kFirstDegree) * load<T>(y_bar + (1 + a) * kMost);
}

// ∂E/∂r_ij of the pairs of one atom.
template <class T> inline void density_reverse(const Angular<T>& e, const Geometry<T>& pairs, Span span, double step,
                                               const T* a_bar, DensityScratch<T>& s) {
    by_pairs<T>(span.n, e.radial, s.radial.get(), s.by_pair.get());
    by_pairs<T>(span.n, e.radial, s.radial_slope.get(), s.slope_by_pair.get());
    for (int p = 0; p < span.n; p += lanes<T>) {
        Vec<T> along{}, d[3], d_bar[3] = {Vec<T>{}, Vec<T>{}, Vec<T>{}};
        int lm = 0;
        for (; lm + kAdjoint <= e.harmonics; lm += kAdjoint) adjoint_chunk<T, kAdjoint>(e, lm, p, a_bar, s, along);
        for (; lm < e.harmonics; ++lm) adjoint_chunk<T, 1>(e, lm, p, a_bar, s, along);
        pairs.directions(span.begin + p, d);
        harmonics_reverse<T>(e, d, s.y.get() + p, s.y_bar.get() + p, d_bar);
        const Vec<T> radial_part = d_bar[0] * d[0] + d_bar[1] * d[1] + d_bar[2] * d[2];
        const Vec<T> r = (pairs.intervals(span.begin + p) + load<T>(pairs.t.get() + span.begin + p)) * T(step);
        const Vec<T> inverse = T(1) / r, straight = along - radial_part * inverse;
        constexpr int axis[3] = {1, 2, 0};
        for (int a = 0; a < 3; ++a) store<T>(s.gradient[axis[a]].get() + p, d_bar[a] * inverse + straight * d[a]);
    }
}

}  // namespace ru::inference
