// What training needs of the pairs: sums over pairs that are listed once.
//
// A filter is W(r) = Σ_q w_q(r) C_(k+q), q = 0 … 5, with k the interval and w_q the envelope times a quintic B-spline;
// `weights` holds w_q and its first and second derivative.  Three sums are closed under differentiation:
//
//   node   m_i = Σ_j e_ij h_j ⊙ W^(d)(r_ij)
//   edge   s_ij = ⟨W^(d)(r_ij), a_i ⊙ h_j + a_j ⊙ h_i⟩
//   table  C̄_(k+q) = Σ_ij e_ij w_q^(d)(r_ij) (a_i ⊙ h_j + a_j ⊙ h_i)
#pragma once
#include <vector>

#include "simd.hpp"

namespace ru {

constexpr int kOrders = 3, kSplines = 6, kWeights = kOrders * kSplines;

// A lane by itself stands in for a vector where a width is no multiple of the vector's.
template <class T, class V> inline V read(const T* p) {
    if constexpr (sizeof(V) == sizeof(T)) return *p;
    else return load<T>(p);
}
template <class T, class V> inline void write(T* p, V v) {
    if constexpr (sizeof(V) == sizeof(T)) *p = v;
    else store<T>(p, v);
}
template <class T, class V> inline T total(V v) {
    if constexpr (sizeof(V) == sizeof(T)) return v;
    else return sum<T>(v);
}

// Calls f(vector type, integral constant CH, first channel) over a width: chunks of Most vectors, single ones, lanes.
template <class T, int Most, class F> inline void over_width(int width, F f) {
    constexpr int L = lanes<T>;
    int c = 0;
    for (; c + Most * L <= width; c += Most * L) f(Vec<T>{}, std::integral_constant<int, Most>{}, c);
    for (; c + L <= width; c += L) f(Vec<T>{}, std::integral_constant<int, 1>{}, c);
    for (; c < width; ++c) f(T{}, std::integral_constant<int, 1>{}, c);
}

template <class T> struct PairList {
    int64_t n;
    const int64_t *first, *second, *interval;
    const T* weights;  // (n, orders, splines)
};

// Interval, weights (n, 3, 6) and directions (n, 3) of vectors (n, 3).  Envelope: 1 − 10u³ + 15u⁴ − 6u⁵ over the switch.
template <class T>
void pair_weights(int64_t n, const T* vectors, double cutoff, double fade, int intervals, int64_t* interval, T* weights,
                  T* units) {
    const T per_step = T(intervals / cutoff), start = T(cutoff - fade), per_fade = T(1 / fade);
    for (int64_t p = 0; p < n; ++p) {
        const T* v = vectors + 3 * p;
        const T r = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]), u = r * per_step;
        for (int a = 0; a < 3; ++a) units[3 * p + a] = v[a] / r;
        const int64_t k = u < intervals ? int64_t(u) : intervals - 1;  // the last one also for NaN
        interval[p] = k;
        const T t = u - T(k);
        T b[kSplines][kSplines] = {{T(1)}};  // by degree
        for (int d = 1; d < kSplines; ++d)
            for (int q = 0; q <= d; ++q)
                b[d][q] = ((q ? (t + T(d - q)) * b[d - 1][q - 1] : T(0)) + (q < d ? (T(q + 1) - t) * b[d - 1][q] : T(0))) / T(d);
        T w = T(1) - (r - start) * per_fade;
        w = w < T(0) ? T(0) : w > T(1) ? T(1) : w;
        const T f = w * w * w * (T(10) + w * (T(-15) + T(6) * w));
        const T df = T(-30) * w * w * (T(1) - w) * (T(1) - w) * per_fade;
        const T ddf = T(60) * w * (T(1) - w) * (T(1) - T(2) * w) * per_fade * per_fade;
        auto below = [&](int d, int q) { return q >= 0 && q <= d ? b[d][q] : T(0); };
        for (int q = 0; q < kSplines; ++q) {
            const T value = b[5][q], slope = (below(4, q - 1) - below(4, q)) * per_step;
            const T bend = (below(3, q - 2) - T(2) * below(3, q - 1) + below(3, q)) * per_step * per_step;
            T* out = weights + p * kWeights + q;
            out[0] = f * value, out[kSplines] = df * value + f * slope;
            out[2 * kSplines] = ddf * value + T(2) * df * slope + f * bend;
        }
    }
}

template <class T, class V> inline V filter(const T* rows, int width, const T* w) {
    V f = w[0] * read<T, V>(rows);
#pragma GCC unroll 6
    for (int q = 1; q < kSplines; ++q) f += w[q] * read<T, V>(rows + q * width);
    return f;
}

// m (atoms, width) += Σ e h ⊙ W^(order); e may be null for 1.
template <class T>
void node_sums(const PairList<T>& pairs, int order, const T* e, const T* h, const T* table, int width, T* m) {
    over_width<T, 4>(width, [&](auto v, auto ch, int c0) {
        using V = decltype(v);
        constexpr int CH = decltype(ch)::value, L = sizeof(V) / sizeof(T);
        V mine[CH], hi[CH];
        for (int64_t p = 0; p < pairs.n;) {
            const int64_t i = pairs.first[p];
#pragma GCC unroll 4
            for (int c = 0; c < CH; ++c) mine[c] = V{}, hi[c] = read<T, V>(h + i * width + c0 + c * L);
            for (; p < pairs.n && pairs.first[p] == i; ++p) {
                const T* rows = table + pairs.interval[p] * width + c0;
                const int64_t j = pairs.second[p] * width + c0;
                T w[kSplines];
                for (int q = 0; q < kSplines; ++q)
                    w[q] = pairs.weights[p * kWeights + order * kSplines + q] * (e ? e[p] : T(1));
#pragma GCC unroll 4
                for (int c = 0; c < CH; ++c) {
                    const V f = filter<T, V>(rows + c * L, width, w);
                    mine[c] += f * read<T, V>(h + j + c * L);
                    write<T, V>(m + j + c * L, read<T, V>(m + j + c * L) + f * hi[c]);
                }
            }
#pragma GCC unroll 4
            for (int c = 0; c < CH; ++c) {
                T* out = m + i * width + c0 + c * L;
                write<T, V>(out, read<T, V>(out) + mine[c]);
            }
        }
    });
}

// Calls f(p, c0, what a_i ⊙ h_j + a_j ⊙ h_i gives at each of CH vectors) for each pair and chunk.
template <class T, class F>
inline void products(const PairList<T>& pairs, const T* a, const T* h, int width, F f) {
    over_width<T, 4>(width, [&](auto v, auto ch, int c0) {
        using V = decltype(v);
        constexpr int CH = decltype(ch)::value, L = sizeof(V) / sizeof(T);
        for (int64_t p = 0; p < pairs.n; ++p) {
            const int64_t i = pairs.first[p] * width + c0, j = pairs.second[p] * width + c0;
            V both[CH];
#pragma GCC unroll 4
            for (int c = 0; c < CH; ++c)
                both[c] = read<T, V>(a + i + c * L) * read<T, V>(h + j + c * L) +
                          read<T, V>(a + j + c * L) * read<T, V>(h + i + c * L);
            f(p, c0, both, ch);
        }
    });
}

// s (pairs) += ⟨W^(order), a_i ⊙ h_j + a_j ⊙ h_i⟩
template <class T>
void edge_sums(const PairList<T>& pairs, int order, const T* a, const T* h, const T* table, int width, T* s) {
    products<T>(pairs, a, h, width, [&](int64_t p, int c0, const auto* both, auto ch) {
        using V = std::decay_t<decltype(*both)>;
        constexpr int CH = decltype(ch)::value, L = sizeof(V) / sizeof(T);
        const T* rows = table + pairs.interval[p] * width + c0;
        V sum_{};
#pragma GCC unroll 4
        for (int c = 0; c < CH; ++c)
            sum_ += both[c] * filter<T, V>(rows + c * L, width, pairs.weights + p * kWeights + order * kSplines);
        s[p] += total<T, V>(sum_);
    });
}

// table (rows, width) += e w_q^(order) (a_i ⊙ h_j + a_j ⊙ h_i); e may be null for 1.
template <class T>
void table_sums(const PairList<T>& pairs, int order, const T* e, const T* a, const T* h, int width, T* table) {
    products<T>(pairs, a, h, width, [&](int64_t p, int c0, const auto* both, auto ch) {
        using V = std::decay_t<decltype(*both)>;
        constexpr int CH = decltype(ch)::value, L = sizeof(V) / sizeof(T);
        T* rows = table + pairs.interval[p] * width + c0;
#pragma GCC unroll 6
        for (int q = 0; q < kSplines; ++q) {
            const T w = pairs.weights[p * kWeights + order * kSplines + q] * (e ? e[p] : T(1));
#pragma GCC unroll 4
            for (int c = 0; c < CH; ++c) {
                T* out = rows + q * width + c * L;
                write<T, V>(out, read<T, V>(out) + w * both[c]);
            }
        }
    });
}

// Y_(out) gets weight · direction[axis] · Y_(in); axes count y, z, x.
template <class T> struct Raising {
    int out, axis, in;
    T weight;
};

// Y (n, harmonics) of the directions of vectors (n, 3), and their derivatives by the vectors (n, 3, harmonics); several
// pairs at once, one in each lane.
template <class T>
void pair_harmonics(int64_t n, const T* vectors, int l_max, const std::vector<Raising<T>>& raising, T* y, T* dy) {
    using V = Vec<T>;
    constexpr int L = lanes<T>;
    const int count = (l_max + 1) * (l_max + 1);
    constexpr int cyclic[3] = {1, 2, 0};
    std::vector<V> out(4 * size_t(count));  // Y, and its derivatives by x, y, z
    for (int64_t p = 0; p < n; p += L) {
        const int here = int(std::min<int64_t>(L, n - p));
        V v[3], d[3], dd[3][3];  // vector; direction by axis, and its derivative by the component
        for (int a = 0; a < 3; ++a)
            for (int k = 0; k < L; ++k) v[a][k] = vectors[3 * (p + std::min(k, here - 1)) + a];
        const V inverse = T(1) / square_root<T>(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
        for (int k = 0; k < 3; ++k) d[k] = v[cyclic[k]] * inverse;
        for (int k = 0; k < 3; ++k)
            for (int a = 0; a < 3; ++a) dd[k][a] = (T(cyclic[k] == a) - d[k] * v[a] * inverse) * inverse;
        std::fill(out.begin(), out.end(), V{});
        V *value = out.data(), *slopes = value + count;
        value[0] = splat<T>(1);
        for (int k = 0; k < 3 && l_max > 0; ++k) {
            value[1 + k] = T(1.7320508075688772) * d[k];
            for (int a = 0; a < 3; ++a) slopes[a * count + 1 + k] = T(1.7320508075688772) * dd[k][a];
        }
        for (const auto& term : raising) {
            const V weighted = term.weight * d[term.axis], in = term.weight * value[term.in];
            value[term.out] += weighted * value[term.in];
            for (int a = 0; a < 3; ++a)
                slopes[a * count + term.out] += weighted * slopes[a * count + term.in] + in * dd[term.axis][a];
        }
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
void density_sums(const PairList<T>& pairs, const Sphere<T>& on, const T* u, const T* table, int n, T* d) {
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
void density_slopes(const PairList<T>& pairs, const Sphere<T>& on, const T* bar, const T* table, int n, T* g) {
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
void density_table(const PairList<T>& pairs, const Sphere<T>& on, const T* u, const T* bar, int n, T* table) {
    std::vector<T> turned(on.harmonics);
    over_width<T, 1>(n, [&](auto v, auto, int c0) {
        using V = decltype(v);
        for (int64_t p = 0; p < pairs.n; ++p) {
            const T* w = pairs.weights + p * kWeights;
            const T *bi = bar + pairs.first[p] * on.harmonics * n + c0, *bj = bar + pairs.second[p] * on.harmonics * n + c0;
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

}  // namespace ru
