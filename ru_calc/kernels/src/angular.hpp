// The angular embedding of one atom: A_n,lm = Σ_j R_n(r_ij) Y_lm(r̂_ij), its invariants, and their reverse.
#pragma once
#include "pairs.hpp"

namespace ru {

#if RU_VECTOR_BYTES == 64
constexpr int kAdjoint = 8;
#else
constexpr int kAdjoint = 4;
#endif

// Scratch of one thread for the pairs of one atom, all with the pairs along the rows of `kMost`.
template <class T> struct AngularScratch {
    static constexpr int kMost = Weights<T>::kMost;
    Buffer<T> y, y_bar, radial, radial_slope, by_pair, slope_by_pair, products, sums, value;
    void reserve(const Angular<T>& e) {
        y.ensure(size_t(e.harmonics) * kMost), y_bar.ensure(size_t(e.harmonics) * kMost);
        // Whole vectors are read, also beyond the last pair; what lay there might be denormal numbers, which are slow.
        radial.ensure_zeros(size_t(e.radial) * kMost), radial_slope.ensure_zeros(size_t(e.radial) * kMost);
        by_pair.ensure(size_t(e.radial) * kMost), slope_by_pair.ensure(size_t(e.radial) * kMost);
        value.ensure(e.features + lanes<T>);
        products.ensure((e.products.size() + 1) * lanes<T>);
        sums.ensure((e.groups.size() + 1) * std::max(e.triple, 1));
    }

    size_t bytes() const {
        size_t total = 0;
        for (const auto* b : {&y, &y_bar, &radial, &radial_slope, &by_pair, &slope_by_pair, &products, &sums, &value})
            total += b->bytes();
        return total;
    }
};

// Y[lm][pair] of the directions.
template <class T>
inline void harmonics(const Angular<T>& e, const Geometry<T>& g, int64_t begin, int n, T* y) {
    constexpr int L = lanes<T>, most = Weights<T>::kMost;
    for (int p = 0; p < n; p += L) {
        const Vec<T> d[3] = {load<T>(g.y.get() + begin + p), load<T>(g.z.get() + begin + p), load<T>(g.x.get() + begin + p)};
        store<T>(y + p, splat<T>(1));
        for (int a = 0; a < 3 && e.l_max > 0; ++a) store<T>(y + (1 + a) * most + p, d[a] * T(1.7320508075688772));
        int last = -1;
        Vec<T> total{};
        for (const auto& term : e.raising) {
            if (term.out != last) {
                if (last >= 0) store<T>(y + last * most + p, total);
                last = term.out, total = Vec<T>{};
            }
            total += term.weight * d[term.axis] * load<T>(y + term.in * most + p);
        }
        if (last >= 0) store<T>(y + last * most + p, total);
    }
}

// R_n of each pair, n along the vector: radial[pair][n], and the slopes where they are wanted.
template <class T>
inline void radial(const Angular<T>& e, const Geometry<T>& g, const Weights<T>& w, int64_t begin, int n, T* value,
                   T* slope) {
    constexpr int L = lanes<T>;
    for (int p = 0; p < n; ++p) {
        const T* rows = e.table.rows.get() + size_t(g.interval.get()[begin + p]) * e.radial;
        for (int c = 0; c < e.radial; c += L) {
            Vec<T> f{}, df{};
#pragma GCC unroll 6
            for (int i = 0; i < 6; ++i) {
                const Vec<T> row = load<T>(rows + i * e.radial + c);
                f += w.value[i][p] * row;
                if (slope) df += w.slope[i][p] * row;
            }
            store<T>(value + p * e.radial + c, f);
            if (slope) store<T>(slope + p * e.radial + c, df);
        }
    }
}

// a[lm][n] += Σ_pairs Y[lm][pair] R[pair][n], KH harmonics at a time.
template <class T, int KH>
inline void density_chunk(const Angular<T>& e, int n, int lm, const T* y, const T* value, T* a) {
    constexpr int L = lanes<T>, most = Weights<T>::kMost;
    for (int c = 0; c < e.radial; c += L) {
        Vec<T> acc[KH];
#pragma GCC unroll 16
        for (int k = 0; k < KH; ++k) acc[k] = load<T>(a + (lm + k) * e.radial + c);
        for (int p = 0; p < n; ++p) {
            const Vec<T> f = load<T>(value + p * e.radial + c);
#pragma GCC unroll 16
            for (int k = 0; k < KH; ++k) acc[k] += y[(lm + k) * most + p] * f;
        }
#pragma GCC unroll 16
        for (int k = 0; k < KH; ++k) store<T>(a + (lm + k) * e.radial + c, acc[k]);
    }
}

template <class T> inline void density(const Angular<T>& e, int n, const T* y, const T* value, T* a) {
    int lm = 0;
    for (; lm + 8 <= e.harmonics; lm += 8) density_chunk<T, 8>(e, n, lm, y, value, a);
    for (; lm < e.harmonics; ++lm) density_chunk<T, 1>(e, n, lm, y, value, a);
}

// Third order of one atom: f[coupling] = Σ_a O_a S_a, S_a = Σ_bc G B_b B_c, kept in `sums` by group.
template <class T>
inline void triples(const Angular<T>& e, const T* mixed, T* products, T* sums, T* f) {
    constexpr int L = lanes<T>;
    const int stride = e.mixed, t = e.triple;
    for (int c = 0; c < t; c += L) {
        const T *once = mixed + e.radial + c, *twice = once + t;
        for (size_t q = 0; q < e.products.size(); ++q)
            store<T>(products + q * L, load<T>(twice + e.products[q].b * stride) * load<T>(twice + e.products[q].c * stride));
        for (int k = 0; k < e.couplings; ++k) store<T>(f + k * t + c, Vec<T>{});
        for (size_t q = 0; q < e.groups.size(); ++q) {
            const TripleGroup& group = e.groups[q];
            Vec<T> s{};
            for (int k = group.begin; k < group.end; ++k) s += e.terms[k].weight * load<T>(products + e.terms[k].index * L);
            store<T>(sums + q * t + c, s);
            T* into = f + group.coupling * t + c;
            store<T>(into, load<T>(into) + s * load<T>(once + group.a * stride));
        }
    }
}

// Adds to mixed_bar; `sums` becomes its adjoint.
template <class T>
inline void triples_reverse(const Angular<T>& e, const T* mixed, T* sums, const T* f_bar, T* mixed_bar) {
    constexpr int L = lanes<T>;
    const int stride = e.mixed, t = e.triple;
    for (int c = 0; c < t; c += L) {
        const T *once = mixed + e.radial + c, *twice = once + t;
        T *once_bar = mixed_bar + e.radial + c, *twice_bar = once_bar + t;
        for (size_t q = 0; q < e.groups.size(); ++q) {
            const TripleGroup& group = e.groups[q];
            const Vec<T> bar = load<T>(f_bar + group.coupling * t + c);
            T* o = once_bar + group.a * stride;
            store<T>(o, load<T>(o) + bar * load<T>(sums + q * t + c));
            store<T>(sums + q * t + c, bar * load<T>(once + group.a * stride));
        }
        for (const TripleProduct& product : e.products) {
            Vec<T> bar{};
            for (int k = product.begin; k < product.end; ++k)
                bar += e.reverse_terms[k].weight * load<T>(sums + e.reverse_terms[k].index * t + c);
            T *b = twice_bar + product.b * stride, *cc = twice_bar + product.c * stride;
            store<T>(b, load<T>(b) + bar * load<T>(twice + product.c * stride));
            store<T>(cc, load<T>(cc) + bar * load<T>(twice + product.b * stride));
        }
    }
}

// f: A_00, then per degree Σ_m A² and Σ_m A (M A), both over 2 l + 1, then the third order.
template <class T>
inline void invariants(const Angular<T>& e, const T* a, const T* mixed, T* products, T* sums, T* f) {
    constexpr int L = lanes<T>;
    const int n = e.radial;
    for (int c = 0; c < n; c += L) {
        store<T>(f + c, load<T>(a + c));
        for (int l = 0, lm = 0; l <= e.l_max; ++l) {
            Vec<T> square{}, cross{};
            for (int m = 0; m < 2 * l + 1; ++m, ++lm) {
                const Vec<T> x = load<T>(a + lm * n + c);
                square += x * x, cross += x * load<T>(mixed + lm * e.mixed + c);
            }
            store<T>(f + n * (1 + 2 * l) + c, square * e.by_degree[l * l]);
            store<T>(f + n * (2 + 2 * l) + c, cross * e.by_degree[l * l]);
        }
    }
    triples<T>(e, mixed, products, sums, f + n * (2 * e.l_max + 3));
}

// Overwrites a_bar and mixed_bar.
template <class T>
inline void invariants_reverse(const Angular<T>& e, const T* a, const T* mixed, T* sums, const T* f_bar,
                               T* a_bar, T* mixed_bar) {
    constexpr int L = lanes<T>;
    const int n = e.radial;
    std::fill(mixed_bar, mixed_bar + size_t(e.harmonics) * e.mixed, T(0));
    for (int c = 0; c < n; c += L)
        for (int l = 0, lm = 0; l <= e.l_max; ++l) {
            const Vec<T> square = T(2) * e.by_degree[l * l] * load<T>(f_bar + n * (1 + 2 * l) + c);
            const Vec<T> cross = e.by_degree[l * l] * load<T>(f_bar + n * (2 + 2 * l) + c);
            for (int m = 0; m < 2 * l + 1; ++m, ++lm) {
                const Vec<T> x = load<T>(a + lm * n + c);
                Vec<T> bar = square * x + cross * load<T>(mixed + lm * e.mixed + c);
                if (lm == 0) bar += load<T>(f_bar + c);
                store<T>(a_bar + lm * n + c, bar);
                store<T>(mixed_bar + lm * e.mixed + c, cross * x);
            }
        }
    triples_reverse<T>(e, mixed, sums, f_bar + n * (2 * e.l_max + 3), mixed_bar);
}

// [pair][n] -> [n][pair]
template <class T> inline void by_pairs(int n, int radial, const T* from, T* to) {
    constexpr int L = lanes<T>, most = Weights<T>::kMost;
    for (int p = 0; p < n; p += L)
        for (int c = 0; c < radial; c += L) {
            Vec<T> rows[L];
#pragma GCC unroll 16
            for (int k = 0; k < L; ++k) rows[k] = load<T>(from + (p + k) * radial + c);
            transpose<T>(rows);
#pragma GCC unroll 16
            for (int k = 0; k < L; ++k) store<T>(to + (c + k) * most + p, rows[k]);
        }
}

// For KH harmonics from lm on, the adjoints Σ_n Ā_n,lm R_n of Y_lm; adds Σ_lm Y_lm Σ_n Ā_n,lm R'_n to `along`.
template <class T, int KH>
inline void adjoint_chunk(const Angular<T>& e, int lm, int p, const T* a_bar, AngularScratch<T>& s, Vec<T>& along) {
    constexpr int most = Weights<T>::kMost;
    const T *value = s.by_pair.get() + p, *slope = s.slope_by_pair.get() + p;
    Vec<T> f[KH], df[KH];
#pragma GCC unroll 8
    for (int k = 0; k < KH; ++k) f[k] = df[k] = Vec<T>{};
    for (int n = 0; n < e.radial; ++n) {
        const Vec<T> v = load<T>(value + n * most), d = load<T>(slope + n * most);
#pragma GCC unroll 8
        for (int k = 0; k < KH; ++k) {
            const Vec<T> a = splat<T>(a_bar[(lm + k) * e.radial + n]);
            f[k] += a * v, df[k] += a * d;
        }
    }
#pragma GCC unroll 8
    for (int k = 0; k < KH; ++k) {
        store<T>(s.y_bar.get() + (lm + k) * most + p, f[k]);
        along += df[k] * load<T>(s.y.get() + (lm + k) * most + p);
    }
}

// Derivatives of E by r_ij for the pairs of one atom; the recursion of the harmonics is run backwards.
template <class T>
inline void density_reverse(const Angular<T>& e, const Geometry<T>& g, int64_t begin, int n, const T* a_bar,
                            AngularScratch<T>& s, double step, T* gx, T* gy, T* gz) {
    constexpr int L = lanes<T>, most = Weights<T>::kMost;
    const T* y = s.y.get();
    T* y_bar = s.y_bar.get();
    by_pairs<T>(n, e.radial, s.radial.get(), s.by_pair.get());
    by_pairs<T>(n, e.radial, s.radial_slope.get(), s.slope_by_pair.get());
    for (int p = 0; p < n; p += L) {
        Vec<T> along{};
        int lm = 0;
        for (; lm + kAdjoint <= e.harmonics; lm += kAdjoint) adjoint_chunk<T, kAdjoint>(e, lm, p, a_bar, s, along);
        for (; lm < e.harmonics; ++lm) adjoint_chunk<T, 1>(e, lm, p, a_bar, s, along);
        const Vec<T> d[3] = {load<T>(g.y.get() + begin + p), load<T>(g.z.get() + begin + p), load<T>(g.x.get() + begin + p)};
        Vec<T> bar[3] = {Vec<T>{}, Vec<T>{}, Vec<T>{}};
        for (size_t q = e.raising.size(); q-- > 0;) {
            const auto& term = e.raising[q];
            const Vec<T> out = term.weight * load<T>(y_bar + term.out * most + p);
            T* in = y_bar + term.in * most + p;
            bar[term.axis] += out * load<T>(y + term.in * most + p);
            store<T>(in, load<T>(in) + out * d[term.axis]);
        }
        for (int a = 0; a < 3 && e.l_max > 0; ++a)
            bar[a] += T(1.7320508075688772) * load<T>(y_bar + (1 + a) * most + p);
        const Vec<T> radial_part = bar[0] * d[0] + bar[1] * d[1] + bar[2] * d[2];
        IVec<T> k;
        for (int l = 0; l < L; ++l) k[l] = g.interval.get()[begin + p + l];
        const Vec<T> r = (__builtin_convertvector(k, Vec<T>) + load<T>(g.t.get() + begin + p)) * T(step);
        const Vec<T> inverse = T(1) / r, straight = along - radial_part * inverse;
        store<T>(gy + p, bar[0] * inverse + straight * d[0]);
        store<T>(gz + p, bar[1] * inverse + straight * d[1]);
        store<T>(gx + p, bar[2] * inverse + straight * d[2]);
    }
}

}  // namespace ru
