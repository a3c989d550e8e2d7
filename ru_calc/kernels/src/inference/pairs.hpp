// The first pass: pairs within the cutoff, and what of energy and forces they have without the network.
#pragma once
#include "worker.hpp"

namespace ru::inference {

inline void load_positions(const double* from, const std::vector<int32_t>& order, int begin, int end, double* to) {
    for (int i = begin; i < end; ++i)
        for (int a = 0; a < 3; ++a) to[3 * i + a] = from[3 * size_t(order[i]) + a];
}

// σ += scale · r ⊗ g, symmetric, in Voigt order.
template <class T> inline void add_virial(const Worker<T>& own, int i, const double* r, const double* g, double scale) {
    double* v = own.scratch.virial.get() + 6 * size_t(own.plan.frame[i]);
    v[0] += scale * r[0] * g[0], v[1] += scale * r[1] * g[1], v[2] += scale * r[2] * g[2];
    v[3] += 0.5 * scale * (r[1] * g[2] + r[2] * g[1]), v[4] += 0.5 * scale * (r[0] * g[2] + r[2] * g[0]);
    v[5] += 0.5 * scale * (r[0] * g[1] + r[1] * g[0]);
}

// The same, half to each end that the pair serves; apart from the pass over pairs, which is faster so.
template <bool Both, class T> __attribute__((noinline)) void add_virials(const Worker<T>& own, int i, int j,
                                                                         const double* r, const double* g,
                                                                         double scale) {
    constexpr int row[6] = {0, 1, 2, 1, 0, 0}, column[6] = {0, 1, 2, 2, 2, 1};
    for (int k = 0; k < 6; ++k) {
        const double half = 0.25 * scale * (r[row[k]] * g[column[k]] + r[column[k]] * g[row[k]]);
        own.scratch.virials.get()[6 * size_t(i) + k] += half;
        if constexpr (Both) own.scratch.virials.get()[6 * size_t(j) + k] += half;
    }
}

// A pair by whose length the energy changes.
struct Bond {
    int i, j;
    double length, direction[3];
};

// Force and virial of dE/dr.  A pair that serves one end only counts half in the virial: its other end counts too.
template <bool Both, class T> inline void pull(const Worker<T>& own, const Bond& bond, double slope) {
    const double* n = bond.direction;
    double *fi = own.scratch.force.get() + 3 * size_t(bond.i), *fj = own.scratch.force.get() + 3 * size_t(bond.j);
    for (int a = 0; a < 3; ++a) {
        fi[a] += slope * n[a];
        if constexpr (Both) fj[a] -= slope * n[a];
    }
    if (own.request.virial) add_virial(own, bond.i, n, n, (Both ? 1.0 : 0.5) * bond.length * slope);
    if (own.request.virials) add_virials<Both>(own, bond.i, bond.j, n, n, bond.length * slope);
}

struct CoreTerm {
    double energy, slope;
};

// The ZBL core at a distance; see tables/constants.py, and ZBLCore in tables/smooth.py.
template <class T> inline CoreTerm zbl_core(const Model<T>& m, double r) {
    double screen = 0, slope = 0;
    for (size_t k = 0; k < m.core_terms.size(); k += 2) {
        const double decay = m.core_terms[k + 1] / m.core_length;
        const double term = m.core_terms[k] * std::exp(-decay * r);
        screen += term, slope -= term * decay;
    }
    const double width = m.core_outer - m.core_inner, u = std::max(0.0, (r - m.core_inner) / width), in = 1 - u;
    const double f = fade<double>(in), df = fade_slope<double>(u, in) / width;
    const double e = m.core_strength * screen * f / r;
    return {e, m.core_strength * (slope * f + screen * df) / r - e / r};
}

// Compacts the row of atom i; differences in double.
template <class T> inline int find_candidates(const Worker<T>& own, int i, Row& row, Candidate* found) {
    const Plan& plan = own.plan;
    const double cutoff2 = own.model.cutoff * own.model.cutoff, *x = own.work.positions.get(), *xi = x + 3 * size_t(i);
    int32_t* atom = own.work.geometry.atom.get() + row.begin;
    int n = 0, ends[3];
    for (int part = 0; part < 3; ++part) {
        for (int64_t q = plan.row[3 * size_t(i) + part]; q < plan.row[3 * size_t(i) + part + 1]; ++q) {
            const Neighbor neighbor = plan.neighbors[q];
            const bool ahead = neighbor.image >= 0;
            const double* shift = own.request.images + 3 * size_t(ahead ? neighbor.image : -1 - neighbor.image);
            const double* xj = x + 3 * size_t(neighbor.atom);
            const double sign = ahead ? 1.0 : -1.0;
            const double dx = xj[0] - xi[0] + sign * shift[0], dy = xj[1] - xi[1] + sign * shift[1];
            const double dz = xj[2] - xi[2] + sign * shift[2], r2 = dx * dx + dy * dy + dz * dz;
            found[n] = {{dx, dy, dz}, r2};
            atom[n] = neighbor.atom;
            n += !(r2 >= cutoff2);
        }
        ends[part] = n;
    }
    row.both = ends[0], row.single = ends[1] - ends[0], row.back = ends[2] - ends[1];
    return n;
}

// Places in the tables, and directions.
template <class T> inline void place(const Model<T>& model, const Candidate* found, int n, Geometry<T>& g, int64_t at) {
    const double per_step = 1 / model.step;
    for (int p = 0; p < n; ++p) {
        const auto& [vector, square] = found[p];
        const double r = std::sqrt(square), inverse = 1 / r, u = r * per_step;
        const int k = u < model.intervals ? int(u) : model.intervals - 1;  // the last one also for NaN
        g.interval.get()[at + p] = k, g.t.get()[at + p] = T(u - k);
        g.x.get()[at + p] = T(vector[0] * inverse), g.y.get()[at + p] = T(vector[1] * inverse);
        g.z.get()[at + p] = T(vector[2] * inverse);
    }
}

// ½ ZBL(r) for each end that pairs first … end − 1 of atom i serve.
template <bool Both, class T>
inline void add_cores(const Worker<T>& own, int i, const int32_t* atom, const Candidate* first, const Candidate* end) {
    const double outer = own.model.core_outer;
    double* energy = own.work.energy.get();
    for (; first < end; ++first, ++atom) {
        const auto& [vector, square] = *first;
        if (!(square < outer * outer)) continue;
        const double r = std::sqrt(square);
        const CoreTerm core = zbl_core(own.model, r);
        energy[i] += 0.5 * core.energy;
        if constexpr (Both) energy[*atom] += 0.5 * core.energy;
        if (!own.request.backward()) continue;
        pull<Both>(own, Bond{i, *atom, r, {vector[0] / r, vector[1] / r, vector[2] / r}}, core.slope);
    }
}

template <class T> inline void find_pairs(const Worker<T>& own) {
    auto* found = own.scratch.candidates.get();
    int64_t at = own.begin < own.end ? own.plan.row[3 * size_t(own.begin)] : 0;
    for (int i = own.begin; i < own.end; ++i) {
        Row& row = own.work.geometry.row.get()[i];
        row.begin = at;
        const int n = find_candidates(own, i, row, found);
        place(own.model, found, n, own.work.geometry, at);
        const int32_t* atom = own.work.geometry.atom.get() + at;
        add_cores<true>(own, i, atom, found, found + row.both);
        add_cores<false>(own, i, atom + row.both, found + row.both, found + row.both + row.single);
        at += n;
    }
}

}  // namespace ru::inference
