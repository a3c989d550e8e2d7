// Sums over all pairs, each listed once, with the filters W(r) of common/splines.hpp and their derivatives W', W''.
#pragma once
#include <cmath>

#include "../common/splines.hpp"

namespace ru::training {

constexpr int kOrders = 3, kWeights = kOrders * kSplines;  // a filter, its slope, its curvature

template <class T> struct PairList {
    int64_t n;
    const int64_t *first, *second, *interval;
    const T* weights;  // (n, orders, splines)

    const T* weights_of(int64_t p, int order) const { return weights + p * kWeights + order * kSplines; }
};

struct Grid {
    double cutoff, fade;
    int intervals;
};

// What the sums read of vectors (n, 3): interval, weights (n, 3, 6) and directions (n, 3).
template <class T>
void pair_weights(const Grid& grid, int64_t n, const T* vectors, int64_t* interval, T* weights, T* units) {
    const T per_step = T(grid.intervals / grid.cutoff), start = T(grid.cutoff - grid.fade), per_fade = T(1 / grid.fade);
    for (int64_t p = 0; p < n; ++p) {
        const T* v = vectors + 3 * p;
        const T r = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]), u = r * per_step;
        for (int a = 0; a < 3; ++a) units[3 * p + a] = v[a] / r;
        const int64_t k = u < grid.intervals ? int64_t(u) : grid.intervals - 1;  // the last one also for NaN
        interval[p] = k;
        const Splines<T> splines(u - T(k));
        T w = T(1) - (r - start) * per_fade;
        w = w < T(0) ? T(0) : w > T(1) ? T(1) : w;
        const T f = fade<T>(w), df = fade_slope<T>(w, T(1) - w) * per_fade;
        const T ddf = fade_bend<T>(w, T(1) - w) * per_fade * per_fade;
        for (int q = 0; q < kSplines; ++q) {
            const T value = splines.value(q), slope = splines.slope(q) * per_step;
            const T bend = splines.bend(q) * per_step * per_step;
            T* out = weights + p * kWeights + q;
            out[0] = f * value, out[kSplines] = df * value + f * slope;
            out[2 * kSplines] = ddf * value + T(2) * df * slope + f * bend;
        }
    }
}

// Continuous-filter convolutions, with a derivative of the filter (`order`), of features with `width` channels.  The
// three sums are closed under differentiation; e, one number for each pair, may be null for 1.
template <class T> struct Convolution {
    const PairList<T>& pairs;
    int order, width;

    // m_i += Σ_j e_ij h_j ⊙ W(r_ij)
    void add_messages(const T* e, const T* h, const T* table, T* m) const {
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
                    for (int q = 0; q < kSplines; ++q) w[q] = pairs.weights_of(p, order)[q] * (e ? e[p] : T(1));
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

    // s_ij += ⟨W(r_ij), a_i ⊙ h_j + a_j ⊙ h_i⟩
    void add_by_pair(const T* a, const T* h, const T* table, T* s) const {
        products(a, h, [&](int64_t p, int c0, const auto* both, auto ch) {
            using V = std::decay_t<decltype(*both)>;
            constexpr int CH = decltype(ch)::value, L = sizeof(V) / sizeof(T);
            const T* rows = table + pairs.interval[p] * width + c0;
            V sum_{};
#pragma GCC unroll 4
            for (int c = 0; c < CH; ++c)
                sum_ += both[c] * filter<T, V>(rows + c * L, width, pairs.weights_of(p, order));
            s[p] += total<T, V>(sum_);
        });
    }

    // table_(k+q) += Σ_ij e_ij w_q(r_ij) (a_i ⊙ h_j + a_j ⊙ h_i)
    void add_to_table(const T* e, const T* a, const T* h, T* table) const {
        products(a, h, [&](int64_t p, int c0, const auto* both, auto ch) {
            using V = std::decay_t<decltype(*both)>;
            constexpr int CH = decltype(ch)::value, L = sizeof(V) / sizeof(T);
            T* rows = table + pairs.interval[p] * width + c0;
#pragma GCC unroll 6
            for (int q = 0; q < kSplines; ++q) {
                const T w = pairs.weights_of(p, order)[q] * (e ? e[p] : T(1));
#pragma GCC unroll 4
                for (int c = 0; c < CH; ++c) {
                    T* out = rows + q * width + c * L;
                    write<T, V>(out, read<T, V>(out) + w * both[c]);
                }
            }
        });
    }

  private:
    // Calls f(p, c0, what a_i ⊙ h_j + a_j ⊙ h_i gives at each of CH vectors) for each pair and chunk.
    template <class F> inline void products(const T* a, const T* h, F f) const {
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
};

}  // namespace ru::training
