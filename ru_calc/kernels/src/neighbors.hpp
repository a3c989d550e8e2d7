// Which pairs a thread works on: atoms in a local order, rows of directed pairs, and their geometry at each step.
#pragma once
#include <algorithm>
#include <numeric>

#include "model.hpp"

namespace ru {

// A neighbour of an atom: where it is, and which image; a negative image is −1 − k for the image k seen from its end.
struct Neighbor {
    int32_t atom, image;
};

// One thread's share of the pairs.  A row holds, in this order: pairs of two own atoms, which serve both ends; pairs
// with an atom of another thread, which serve this end only; and, where directed pairs are needed, the own pairs seen
// from their second atom.
struct Plan {
    int n_atoms = 0, n_frames = 0, n_images = 0, threads = 1;
    bool directed = false;
    std::vector<int32_t> order;       // local place -> the caller's atom
    std::vector<int32_t> frame;       // by local place
    std::vector<int32_t> first_atom;  // by thread, and the end
    std::vector<int64_t> row;         // (3 n + 1) starts of the parts of the rows
    std::vector<Neighbor> neighbors;

    size_t bytes() const {
        return order.size() * 4 + frame.size() * 4 + row.size() * 8 + neighbors.size() * sizeof(Neighbor);
    }
};

inline uint64_t spread(uint64_t x) {  // bits of x to every third place
    x &= 0x1fffff;
    x = (x | x << 32) & 0x1f00000000ffffull;
    x = (x | x << 16) & 0x1f0000ff0000ffull;
    x = (x | x << 8) & 0x100f00f00f00f00full;
    x = (x | x << 4) & 0x10c30c30c30c30c3ull;
    return (x | x << 2) & 0x1249249249249249ull;
}

// Atoms along a curve through space, so that neighbours lie near each other in memory.
inline std::vector<int32_t> order_in_space(int n, const double* x, const int64_t* frame, double length) {
    double low[3] = {0, 0, 0};
    for (int i = 0; i < n; ++i)
        for (int a = 0; a < 3; ++a) low[a] = i ? std::min(low[a], x[3 * i + a]) : x[3 * i + a];
    std::vector<uint64_t> key(n);
    for (int i = 0; i < n; ++i) {
        key[i] = 0;
        for (int a = 0; a < 3; ++a)
            key[i] |= spread(uint64_t(std::min((x[3 * i + a] - low[a]) / length, 2.0e6))) << a;
    }
    std::vector<int32_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return frame[a] != frame[b] ? frame[a] < frame[b] : key[a] < key[b];
    });
    return order;
}

inline std::vector<int32_t> order_given(int n) {
    std::vector<int32_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    return order;
}

// Whether neighbours are far apart in the caller's order, in a system too large for the caches.  Where they are not,
// the caller's order is kept: sums then run in an order that does not depend on when the list was made.
inline bool scattered(int n, int64_t pairs, const int64_t* first, const int64_t* second) {
    if (n < 8000) return false;
    double total = 0;
    for (int64_t p = 0; p < pairs; ++p) total += std::abs(double(first[p] - second[p]));
    return total > 0.2 * double(n) * double(pairs);
}

inline Plan make_plan(int n, int n_frames, int64_t pairs, const int64_t* first, const int64_t* second,
                      const int64_t* image, const double* x, const int64_t* frame, int threads, bool directed,
                      double cutoff) {
    Plan plan;
    plan.n_atoms = n, plan.n_frames = n_frames, plan.directed = directed;
    for (int64_t p = 0; p < pairs; ++p) plan.n_images = std::max(plan.n_images, int(image[p]) + 1);
    plan.threads = std::max(1, std::min(threads, n / 64));
    plan.order = scattered(n, pairs, first, second) ? order_in_space(n, x, frame, 0.8 * cutoff) : order_given(n);
    std::vector<int32_t> place(n);
    for (int i = 0; i < n; ++i) place[plan.order[i]] = i, plan.frame.push_back(int32_t(frame[plan.order[i]]));
    for (int t = 0; t <= plan.threads; ++t) plan.first_atom.push_back(int32_t(int64_t(n) * t / plan.threads));
    std::vector<int32_t> thread(n);
    for (int t = 0; t < plan.threads; ++t)
        for (int i = plan.first_atom[t]; i < plan.first_atom[t + 1]; ++i) thread[i] = t;
    plan.row.assign(3 * size_t(n) + 1, 0);
    // Two rounds over the pairs: count, then place.
    auto visit = [&](auto put) {
        for (int64_t p = 0; p < pairs; ++p) {
            int32_t i = place[first[p]], j = place[second[p]], k = int32_t(image[p]);
            if (i > j) std::swap(i, j), k = -1 - k;
            if (thread[i] != thread[j]) {
                put(i, 1, Neighbor{j, k}), put(j, 1, Neighbor{i, -1 - k});
            } else {
                put(i, 0, Neighbor{j, k});
                if (directed) put(j, 2, Neighbor{i, -1 - k});
            }
        }
    };
    visit([&](int32_t i, int part, Neighbor) { ++plan.row[3 * size_t(i) + part + 1]; });
    std::partial_sum(plan.row.begin(), plan.row.end(), plan.row.begin());
    plan.neighbors.resize(plan.row.back());
    std::vector<int64_t> next(plan.row.begin(), plan.row.end() - 1);
    visit([&](int32_t i, int part, Neighbor neighbor) { plan.neighbors[next[3 * size_t(i) + part]++] = neighbor; });
    for (size_t r = 0; r + 1 < plan.row.size(); ++r)
        std::sort(plan.neighbors.begin() + plan.row[r], plan.neighbors.begin() + plan.row[r + 1],
                  [](Neighbor a, Neighbor b) { return a.atom != b.atom ? a.atom < b.atom : a.image < b.image; });
    return plan;
}

// The pairs of an atom that are within the cutoff at this step.
struct Row {
    int64_t begin;
    int32_t both, single, back;  // how many of each part
};

// The pairs within the cutoff at this step: neighbour, place in the table, direction.
template <class T> struct Geometry {
    Buffer<int32_t> atom, interval;
    Buffer<T> t, x, y, z;
    Buffer<Row> row;

    void reserve(size_t pairs, size_t atoms) {
        pairs += 64;  // whole vectors are read, also at the end
        atom.ensure(pairs), interval.ensure(pairs), row.ensure(atoms + 1);
        t.ensure(pairs), x.ensure(pairs), y.ensure(pairs), z.ensure(pairs);
    }
    size_t bytes() const { return atom.bytes() * 2 + t.bytes() * 4 + row.bytes(); }
};

// Weights of the six rows of a table, for the pairs of one row: the envelope times the B-splines, and the slope.
template <class T> struct Weights {
    static constexpr int kMost = 512;
    alignas(64) T value[6][kMost], slope[6][kMost];
};

// The six quintic B-splines that reach into an interval, and their derivatives, at t in [0, 1).
template <class T> inline void spline_weights(Vec<T> t, Vec<T>* b, Vec<T>* d) {
    using V = Vec<T>;
    const T c = T(1.0 / 120), e = T(1.0 / 24);
    const V s = T(1) - t, t2 = t * t, s2 = s * s;
    b[0] = c * s2 * s2 * s;
    b[5] = c * t2 * t2 * t;
    b[1] = c * (T(26) + t * (T(-50) + t * (T(20) + t * (T(20) + t * (T(-20) + T(5) * t)))));
    b[4] = c * (T(26) + s * (T(-50) + s * (T(20) + s * (T(20) + s * (T(-20) + T(5) * s)))));
    b[2] = c * (T(66) + t2 * (T(-60) + t2 * (T(30) - T(10) * t)));
    b[3] = c * (T(66) + s2 * (T(-60) + s2 * (T(30) - T(10) * s)));
    d[0] = -e * s2 * s2;
    d[5] = e * t2 * t2;
    d[1] = e * (T(-10) + t * (T(8) + t * (T(12) + t * (T(-16) + T(5) * t))));
    d[4] = -e * (T(-10) + s * (T(8) + s * (T(12) + s * (T(-16) + T(5) * s))));
    d[2] = e * t * (T(-24) + t2 * (T(24) - T(10) * t));
    d[3] = -e * s * (T(-24) + s2 * (T(24) - T(10) * s));
}

// `slope` only where it is wanted.
template <class T>
inline void row_weights(const Model<T>& m, const Geometry<T>& g, int64_t begin, int n, bool slope, Weights<T>& w) {
    using V = Vec<T>;
    constexpr int L = lanes<T>;
    const T inverse_step = T(1 / m.step), inverse_fade = T(1 / m.fade), step_over_fade = T(m.step / m.fade);
    for (int p = 0; p < n; p += L) {
        const V t = load<T>(g.t.get() + begin + p);
        IVec<T> k;
        for (int l = 0; l < L; ++l) k[l] = g.interval.get()[begin + p + l];
        // The envelope from the cutoff inwards: exact where it vanishes.
        V w_in = (T(m.intervals) - __builtin_convertvector(k, V) - t) * step_over_fade;
        w_in = w_in > T(1) ? splat<T>(1) : w_in;
        const V f = w_in * w_in * w_in * (T(10) + w_in * (T(-15) + T(6) * w_in)), out = T(1) - w_in;
        const V df = T(-30) * w_in * w_in * out * out * inverse_fade;
        V b[6], d[6];
        spline_weights<T>(t, b, d);
#pragma GCC unroll 6
        for (int i = 0; i < 6; ++i) {
            store<T>(&w.value[i][p], f * b[i]);
            if (slope) store<T>(&w.slope[i][p], f * d[i] * inverse_step + df * b[i]);
        }
    }
}

}  // namespace ru
