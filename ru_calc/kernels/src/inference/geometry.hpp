// The pairs within the cutoff at this step: neighbour, place in the tables, direction.
#pragma once
#include "../common/buffer.hpp"
#include "../common/simd.hpp"
#include "plan.hpp"

namespace ru::inference {

// A pair of the list: r_ij and its square.
struct Candidate {
    double vector[3], square;
};

// Pairs of one atom, in the order of the parts of its row in the plan.
struct Row {
    int64_t begin;
    int32_t both, single, back;
};

// Pairs begin … begin + n of an atom; the first n_both of them serve both ends.
struct Span {
    int atom;
    int64_t begin;
    int n, n_both;
};

constexpr int kMost = 512;  // pairs of an atom that are worked on at a time

template <class T> struct Geometry {
    Buffer<int32_t> atom, interval;
    Buffer<T> t, x, y, z;  // place in the interval, from 0 to 1; direction
    Buffer<Row> row;

    void reserve(size_t pairs, size_t atoms) {
        pairs += 64;  // whole vectors are read, also at the end
        atom.ensure(pairs), interval.ensure(pairs), row.ensure(atoms + 1);
        t.ensure(pairs), x.ensure(pairs), y.ensure(pairs), z.ensure(pairs);
    }
    size_t bytes() const { return atom.bytes() * 2 + t.bytes() * 4 + row.bytes(); }

    double distance(int64_t pair, double step) const { return (interval.get()[pair] + double(t.get()[pair])) * step; }
    void direction(int64_t pair, double* n) const {
        n[0] = double(x.get()[pair]), n[1] = double(y.get()[pair]), n[2] = double(z.get()[pair]);
    }
    // Of the pairs in the lanes; axes in the order of the harmonics: y, z, x.
    void directions(int64_t pair, Vec<T>* d) const {
        d[0] = load<T>(y.get() + pair), d[1] = load<T>(z.get() + pair), d[2] = load<T>(x.get() + pair);
    }
    Vec<T> intervals(int64_t pair) const {
        IVec<T> k;
        for (int l = 0; l < lanes<T>; ++l) k[l] = interval.get()[pair + l];
        return __builtin_convertvector(k, Vec<T>);
    }

    // Calls f(span) for the pairs of an atom that serve it.
    template <class F> void spans(int i, F f) const {
        const Row& at = row.get()[i];
        const int n = at.both + at.single;
        for (int p = 0; p < n; p += kMost) {
            const int count = std::min(n - p, kMost);
            f(Span{i, at.begin + p, count, std::clamp(at.both - p, 0, count)});
        }
    }
    // The same for all pairs of an atom, those too that serve it from their second end.
    template <class F> void all_spans(int i, F f) const {
        const Row& at = row.get()[i];
        const int n = at.both + at.single + at.back;
        for (int p = 0; p < n; p += kMost) f(Span{i, at.begin + p, std::min(n - p, kMost), 0});
    }
};

}  // namespace ru::inference
