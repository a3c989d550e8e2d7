// Continuous-filter convolution of one atom: messages from its neighbours, and their reverse.
#pragma once
#include "filters.hpp"

namespace ru::inference {

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

// A span of pairs with their filters; each function serves CH vectors of channels from channel c0 on.
template <class T> struct Convolution {
    static constexpr int L = lanes<T>;
    const Table<T>& table;
    const Geometry<T>& pairs;
    const FilterWeights<T>& weights;
    const Span span;

    size_t own(int c0) const { return size_t(span.atom) * table.width + c0; }
    size_t other(int p, int c0) const { return size_t(pairs.atom.get()[span.begin + p]) * table.width + c0; }
    const T* rows(int p, int c0) const {
        return table.rows.get() + size_t(pairs.interval.get()[span.begin + p]) * table.width + c0;
    }
    static inline void spread(const T (*w)[kMost], int p, Vec<T>* b) {
#pragma GCC unroll 6
        for (int q = 0; q < kSplines; ++q) b[q] = splat<T>(w[q][p]);
    }

    // m_i += Σ_j W(r_ij) ⊙ h_j and, for pairs that serve both ends, m_j += W(r_ij) ⊙ h_i.  Alike: without h, for the
    // first block of a network whose atoms all start alike.
    template <int CH, bool Alike> inline void gather(int c0, const T* h, T* m) const {
        Chunk<T, CH> mine, hi;
        if constexpr (!Alike) hi.read(h + own(c0));
        for (int c = 0; c < CH; ++c) mine.v[c] = Vec<T>{};
        for (int p = 0; p < span.n; ++p) {
            const T* row = rows(p, c0);
            const size_t j = other(p, c0);
            Vec<T> b[kSplines];
            spread(weights.value, p, b);
            const bool both = p < span.n_both;
#pragma GCC unroll 8
            for (int c = 0; c < CH; ++c) {
                const Vec<T> f = filter<T, Vec<T>>(row + c * L, table.width, b);
                T* mj = m + j + c * L;
                if constexpr (Alike) {
                    mine.v[c] += f;
                    if (both) store<T>(mj, load<T>(mj) + f);
                } else {
                    mine.v[c] += f * load<T>(h + j + c * L);
                    if (both) store<T>(mj, load<T>(mj) + f * hi.v[c]);
                }
            }
        }
        mine.add_to(m + own(c0));
    }

    // Reverse of `gather`: h̄_i += Σ_j W ⊙ m̄_j (and the same for j), and dE/dr of each pair = ⟨m̄_i h_j + m̄_j h_i, W'⟩,
    // kept as a vector of partial sums in `slope`.
    template <int CH> inline void scatter(int c0, const T* h, const T* m_bar, T* h_bar, T* slope) const {
        Chunk<T, CH> mine, hi, mi;
        hi.read(h + own(c0));
        mi.read(m_bar + own(c0));
        for (int c = 0; c < CH; ++c) mine.v[c] = Vec<T>{};
        for (int p = 0; p < span.n; ++p) {
            const T* row = rows(p, c0);
            const size_t j = other(p, c0);
            Vec<T> b[kSplines], d[kSplines];
            spread(weights.value, p, b), spread(weights.slope, p, d);
            const bool both = p < span.n_both;
            Vec<T> along = load<T>(slope + p * L);
#pragma GCC unroll 8
            for (int c = 0; c < CH; ++c) {
                Vec<T> f{}, df{};
#pragma GCC unroll 6
                for (int q = 0; q < kSplines; ++q) {
                    const Vec<T> at = load<T>(row + q * table.width + c * L);
                    f += b[q] * at, df += d[q] * at;
                }
                const Vec<T> mj = load<T>(m_bar + j + c * L), hj = load<T>(h + j + c * L);
                along += df * (mi.v[c] * hj + mj * hi.v[c]);
                mine.v[c] += f * mj;
                if (both) store<T>(h_bar + j + c * L, load<T>(h_bar + j + c * L) + f * mi.v[c]);
            }
            store<T>(slope + p * L, along);
        }
        mine.add_to(h_bar + own(c0));
    }

    // The same where atoms are alike: dE/dr = ⟨m̄_i + m̄_j, W'⟩.
    template <int CH> inline void scatter_alike(int c0, const T* m_bar, T* slope) const {
        Chunk<T, CH> mi;
        mi.read(m_bar + own(c0));
        for (int p = 0; p < span.n; ++p) {
            const T *row = rows(p, c0), *mj = m_bar + other(p, c0);
            Vec<T> d[kSplines];
            spread(weights.slope, p, d);
            Vec<T> along = load<T>(slope + p * L);
#pragma GCC unroll 8
            for (int c = 0; c < CH; ++c)
                along += (mi.v[c] + load<T>(mj + c * L)) * filter<T, Vec<T>>(row + c * L, table.width, d);
            store<T>(slope + p * L, along);
        }
    }
};

}  // namespace ru::inference
