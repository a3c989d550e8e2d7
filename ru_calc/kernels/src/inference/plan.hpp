// Which pairs a thread works on: atoms in a local order, and rows of neighbours.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace ru::inference {

// A neighbour of an atom: where it is, and which image; a negative image is −1 − k for the image k seen from its end.
struct Neighbor {
    int32_t atom, image;
};

// One thread's share of the pairs.  A row holds, in this order: pairs of two own atoms, which serve both ends; pairs
// with an atom of another thread or process, which serve this end only; and, where directed pairs are needed, the own
// pairs seen from their second atom.  Atoms of other processes are ghosts: they come last and have no rows.
struct Plan {
    int n_atoms = 0, n_ghosts = 0, n_frames = 0, n_images = 0, threads = 1;
    bool directed = false;
    std::vector<int32_t> order;       // local place -> the caller's atom, ghosts too
    std::vector<int32_t> frame;       // by local place
    std::vector<int32_t> first_atom;  // by thread, and the end
    std::vector<int64_t> row;         // (3 n + 1) starts of the parts of the rows
    std::vector<Neighbor> neighbors;

    int n_places() const { return n_atoms + n_ghosts; }
    size_t bytes() const {
        return order.size() * 4 + frame.size() * 4 + row.size() * 8 + neighbors.size() * sizeof(Neighbor);
    }
};

// What a plan is made from: pairs of atoms in the caller's order, each with the index of its image.
struct PairTable {
    int n_atoms, n_frames;
    int64_t n_pairs;
    const int64_t *first, *second, *image;
    const double* positions;  // (n, 3)
    const int64_t* frame;     // by atom
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
inline void order_in_space(const PairTable& table, double length, std::vector<int32_t>& order) {
    const double* x = table.positions;
    double low[3] = {0, 0, 0};
    for (int i = 0; i < table.n_atoms; ++i)
        for (int a = 0; a < 3; ++a) low[a] = i ? std::min(low[a], x[3 * i + a]) : x[3 * i + a];
    std::vector<uint64_t> key(table.n_atoms);
    for (int i = 0; i < table.n_atoms; ++i)
        for (int a = 0; a < 3; ++a) key[i] |= spread(uint64_t(std::min((x[3 * i + a] - low[a]) / length, 2.0e6))) << a;
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return table.frame[a] != table.frame[b] ? table.frame[a] < table.frame[b] : key[a] < key[b];
    });
}

// Whether neighbours are far apart in the caller's order, in a system too large for the caches.  Where they are not,
// the caller's order is kept: sums then run in an order that does not depend on when the list was made.
inline bool scattered(const PairTable& table) {
    if (table.n_atoms < 8000) return false;
    double total = 0;
    for (int64_t p = 0; p < table.n_pairs; ++p) total += std::abs(double(table.first[p] - table.second[p]));
    return total > 0.2 * double(table.n_atoms) * double(table.n_pairs);
}

// Numbers of the thread that each atom belongs to, by local place.
inline std::vector<int32_t> share_atoms(Plan& plan) {
    std::vector<int32_t> thread(plan.n_atoms);
    for (int t = 0; t <= plan.threads; ++t)
        plan.first_atom.push_back(int32_t(int64_t(plan.n_atoms) * t / plan.threads));
    for (int t = 0; t < plan.threads; ++t)
        std::fill(thread.begin() + plan.first_atom[t], thread.begin() + plan.first_atom[t + 1], t);
    return thread;
}

// Rows, in two rounds over the pairs: counts, then places.  visit(put) calls put(i, part of the row, neighbour).
template <class Visit> inline void fill_rows(Plan& plan, Visit visit) {
    plan.row.assign(3 * size_t(plan.n_atoms) + 1, 0);
    visit([&](int32_t i, int part, Neighbor) { ++plan.row[3 * size_t(i) + part + 1]; });
    std::partial_sum(plan.row.begin(), plan.row.end(), plan.row.begin());
    plan.neighbors.resize(plan.row.back());
    std::vector<int64_t> next(plan.row.begin(), plan.row.end() - 1);
    visit([&](int32_t i, int part, Neighbor neighbor) { plan.neighbors[next[3 * size_t(i) + part]++] = neighbor; });
    for (size_t r = 0; r + 1 < plan.row.size(); ++r)
        std::sort(plan.neighbors.begin() + plan.row[r], plan.neighbors.begin() + plan.row[r + 1],
                  [](Neighbor a, Neighbor b) { return a.atom != b.atom ? a.atom < b.atom : a.image < b.image; });
}

inline void fill_rows(Plan& plan, const PairTable& table, const std::vector<int32_t>& place) {
    const std::vector<int32_t> thread = share_atoms(plan);
    fill_rows(plan, [&](auto put) {
        for (int64_t p = 0; p < table.n_pairs; ++p) {
            int32_t i = place[table.first[p]], j = place[table.second[p]], k = int32_t(table.image[p]);
            if (i > j) std::swap(i, j), k = -1 - k;
            if (thread[i] != thread[j]) {
                put(i, 1, Neighbor{j, k}), put(j, 1, Neighbor{i, -1 - k});
            } else {
                put(i, 0, Neighbor{j, k});
                if (plan.directed) put(j, 2, Neighbor{i, -1 - k});
            }
        }
    });
}

inline Plan make_plan(const PairTable& table, int threads, bool directed, double cutoff) {
    Plan plan;
    plan.n_atoms = table.n_atoms, plan.n_frames = table.n_frames, plan.directed = directed;
    plan.threads = std::max(1, std::min(threads, table.n_atoms / 64));
    for (int64_t p = 0; p < table.n_pairs; ++p) plan.n_images = std::max(plan.n_images, int(table.image[p]) + 1);
    plan.order.resize(table.n_atoms);
    std::iota(plan.order.begin(), plan.order.end(), 0);
    if (scattered(table)) order_in_space(table, 0.8 * cutoff, plan.order);
    std::vector<int32_t> place(table.n_atoms);
    for (int i = 0; i < table.n_atoms; ++i) place[plan.order[i]] = i;
    for (int32_t i : plan.order) plan.frame.push_back(int32_t(table.frame[i]));
    fill_rows(plan, table, place);
    return plan;
}

}  // namespace ru::inference
