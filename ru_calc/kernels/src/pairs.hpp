// Sums over the pairs of one atom: messages forward, and their reverse.
#pragma once
#include "neighbors.hpp"

namespace ru {

// Pairs begin … begin + n of an atom; the first n_both of them serve both ends.
struct Span {
    int atom;
    int64_t begin;
    int n, n_both;
};

template <class T, int CH> struct Chunk {
    Vec<T> v[CH];
    inline void read(const T* p) {
#pragma GCC unroll 8
        for (int c = 0; c < CH; ++c) v[c] = load<T>(p + c * lanes<T>);
    }
    inline void add_to(T* p) const {
#pragma GCC unroll 8
        for (int c = 0; c < CH; ++c) store<T>(p + c * lanes<T>, load<T>(p + c * lanes<T>) + v[c]);
    }
};

template <class T> inline Vec<T> interpolate(const T* rows, int width, const Vec<T>* b) {
    Vec<T> w = b[0] * load<T>(rows);
#pragma GCC unroll 6
    for (int i = 1; i < 6; ++i) w += b[i] * load<T>(rows + i * width);
    return w;
}

// m_i += Σ_j W(r_ij) ⊙ h_j and, for pairs that serve both ends, m_j += W(r_ij) ⊙ h_i.  Alike: without h, for the first
// block of a network whose atoms all start alike.
template <class T, int CH, bool Alike>
inline void gather(const Table<T>& table, const Geometry<T>& g, const Weights<T>& w, Span s, int c0, const T* h, T* m) {
    constexpr int L = lanes<T>;
    const int width = table.width;
    Chunk<T, CH> mine, hi;
    if constexpr (!Alike) hi.read(h + size_t(s.atom) * width + c0);
    for (int c = 0; c < CH; ++c) mine.v[c] = Vec<T>{};
    for (int p = 0; p < s.n; ++p) {
        const T* rows = table.rows.get() + size_t(g.interval.get()[s.begin + p]) * width + c0;
        const size_t j = size_t(g.atom.get()[s.begin + p]) * width + c0;
        Vec<T> b[6];
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) b[i] = splat<T>(w.value[i][p]);
        const bool both = p < s.n_both;
#pragma GCC unroll 8
        for (int c = 0; c < CH; ++c) {
            const Vec<T> f = interpolate<T>(rows + c * L, width, b);
            T* other = m + j + c * L;
            if constexpr (Alike) {
                mine.v[c] += f;
                if (both) store<T>(other, load<T>(other) + f);
            } else {
                mine.v[c] += f * load<T>(h + j + c * L);
                if (both) store<T>(other, load<T>(other) + f * hi.v[c]);
            }
        }
    }
    mine.add_to(m + size_t(s.atom) * width + c0);
}

// Reverse of `gather`: h̄_i += Σ_j W ⊙ m̄_j (and the same for j), and dE/dr of each pair = ⟨m̄_i h_j + m̄_j h_i, W'⟩,
// kept as a vector of partial sums in `slope`.
template <class T, int CH>
inline void scatter(const Table<T>& table, const Geometry<T>& g, const Weights<T>& w, Span s, int c0, const T* h,
                    const T* m_bar, T* h_bar, T* slope) {
    constexpr int L = lanes<T>;
    const int width = table.width;
    Chunk<T, CH> mine, hi, mi;
    hi.read(h + size_t(s.atom) * width + c0);
    mi.read(m_bar + size_t(s.atom) * width + c0);
    for (int c = 0; c < CH; ++c) mine.v[c] = Vec<T>{};
    for (int p = 0; p < s.n; ++p) {
        const T* rows = table.rows.get() + size_t(g.interval.get()[s.begin + p]) * width + c0;
        const size_t j = size_t(g.atom.get()[s.begin + p]) * width + c0;
        Vec<T> b[6], d[6];
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) b[i] = splat<T>(w.value[i][p]), d[i] = splat<T>(w.slope[i][p]);
        const bool both = p < s.n_both;
        Vec<T> total = load<T>(slope + p * L);
#pragma GCC unroll 8
        for (int c = 0; c < CH; ++c) {
            Vec<T> f{}, df{};
#pragma GCC unroll 6
            for (int i = 0; i < 6; ++i) {
                const Vec<T> row = load<T>(rows + i * width + c * L);
                f += b[i] * row, df += d[i] * row;
            }
            const Vec<T> mj = load<T>(m_bar + j + c * L), hj = load<T>(h + j + c * L);
            total += df * (mi.v[c] * hj + mj * hi.v[c]);
            mine.v[c] += f * mj;
            if (both) store<T>(h_bar + j + c * L, load<T>(h_bar + j + c * L) + f * mi.v[c]);
        }
        store<T>(slope + p * L, total);
    }
    mine.add_to(h_bar + size_t(s.atom) * width + c0);
}

// Reverse of `gather` where atoms are alike: dE/dr = ⟨m̄_i + m̄_j, W'⟩.
template <class T, int CH>
inline void scatter_alike(const Table<T>& table, const Geometry<T>& g, const Weights<T>& w, Span s, int c0,
                          const T* m_bar, T* slope) {
    constexpr int L = lanes<T>;
    const int width = table.width;
    Chunk<T, CH> mi;
    mi.read(m_bar + size_t(s.atom) * width + c0);
    for (int p = 0; p < s.n; ++p) {
        const T* rows = table.rows.get() + size_t(g.interval.get()[s.begin + p]) * width + c0;
        const T* other = m_bar + size_t(g.atom.get()[s.begin + p]) * width + c0;
        Vec<T> d[6];
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) d[i] = splat<T>(w.slope[i][p]);
        Vec<T> total = load<T>(slope + p * L);
#pragma GCC unroll 8
        for (int c = 0; c < CH; ++c)
            total += (mi.v[c] + load<T>(other + c * L)) * interpolate<T>(rows + c * L, width, d);
        store<T>(slope + p * L, total);
    }
}

// Calls f(integral constant CH, first channel) over the channels, in chunks of at most Most vectors.
template <class T, int Most, class F> inline void in_chunks(int width, F f) {
    constexpr int L = lanes<T>;
    int c = 0;
    for (; c + Most * L <= width; c += Most * L) f(std::integral_constant<int, Most>{}, c);
    for (; c < width; c += L) f(std::integral_constant<int, 1>{}, c);
}

}  // namespace ru
