// The Python functions of fits: what the passes read of the pairs, and the passes themselves.
#pragma once
#include "../common/arguments.hpp"
#include "tape.hpp"

namespace ru::training {

constexpr int64_t kMostDegrees = 32, kMostChannels = 4096;  // sizes of an atom's invariants fit an int

// first, second, interval, weights
template <class T> PairList<T> pair_list(Arguments& from, int64_t atoms, int64_t rows) {
    PairList<T> pairs{};
    pairs.first = from.array<const int64_t>(), pairs.n = from.last();
    pairs.second = from.array<const int64_t>(pairs.n), pairs.interval = from.array<const int64_t>(pairs.n);
    pairs.weights = from.array<const T>(pairs.n * kWeights);
    check_pairs(pairs.n, pairs.first, pairs.second, atoms);
    for (int64_t p = 0; p < pairs.n; ++p)
        if (pairs.interval[p] < 0 || pairs.interval[p] > rows - kSplines)
            throw std::runtime_error("a pair reads rows that the table does not have");
    return pairs;
}

// y, dy, units, parity
template <class T> Sphere<T> sphere(Arguments& from, int64_t pairs) {
    Sphere<T> on{};
    on.y = from.array<const T>(), on.harmonics = pairs ? int(from.last() / pairs) : 0;
    on.dy = from.array<const T>(3 * pairs * on.harmonics), on.units = from.array<const T>(3 * pairs);
    on.parity = from.array<const T>();
    if (pairs && from.last() != on.harmonics) throw std::runtime_error("there must be one parity per harmonic");
    on.harmonics = int(from.last());
    return on;
}

// bits, cutoff, fade, intervals, vectors; interval, weights, units
inline PyObject* call_weights(Arguments& from) {
    return from.in_bits([&](auto number) {
        using T = decltype(number);
        Grid grid{};
        grid.cutoff = from.number(), grid.fade = from.number(), grid.intervals = int(from.count(1));
        const T* vectors = from.array<const T>();
        const int64_t n = from.last() / 3;
        auto* interval = from.array<int64_t>(n);
        T* weights = from.array<T>(n * kWeights);
        pair_weights<T>(grid, n, vectors, interval, weights, from.array<T>(3 * n));
        Py_RETURN_NONE;
    });
}

// bits, l_max, raising terms, vectors; y, dy
inline PyObject* call_harmonics(Arguments& from) {
    return from.in_bits([&](auto number) {
        using T = decltype(number);
        const int l_max = int(from.count(0, kMostDegrees)), count = (l_max + 1) * (l_max + 1);
        const double* rows = from.array<const double>();
        Raising<T> raising;
        for (int64_t k = 0; k + 4 <= from.last(); k += 4) {
            raising.push_back({int(rows[k]), int(rows[k + 1]), int(rows[k + 2]), T(rows[k + 3])});
            const auto& term = raising.back();
            if (std::min({term.out, term.axis, term.in}) < 0 || std::max(term.out, term.in) >= count || term.axis > 2)
                throw std::runtime_error("a raising term is beyond the highest degree");
        }
        const T* vectors = from.array<const T>();
        const int64_t n = from.last() / 3;
        T* y = from.array<T>(n * count);
        pair_harmonics<T>(n, vectors, l_max, raising, y, from.array<T>(3 * n * count));
        Py_RETURN_NONE;
    });
}

// radial functions, l_max, triple, couplings, terms
template <class T> Invariants<T> invariants_of(Arguments& from) {
    Invariants<T> made{};
    made.n = int(from.count(0, kMostChannels)), made.l_max = int(from.count(0, kMostDegrees));
    made.triple = int(from.count(0, kMostChannels)), made.couplings = int(from.count(0, kMostChannels));
    const double* rows = from.array<const double>();
    for (int64_t k = 0; k + 5 <= from.last(); k += 5) {
        const int coupling = int(rows[k]), a = int(rows[k + 1]), b = int(rows[k + 2]), c = int(rows[k + 3]);
        if (std::min({coupling, a, b, c}) < 0 || coupling >= made.couplings || std::max({a, b, c}) >= made.harmonics())
            throw std::runtime_error("a coupling is beyond the highest degree");
        made.add_term(coupling, a, {b, c, T(rows[k + 4])});
    }
    return made;
}

template <class T> constexpr const char* kTape = sizeof(T) == 4 ? "ru_calc.tape32" : "ru_calc.tape64";

// bits, channels, blocks, rows of a table, angular, norm, eps, widths of the readout; the invariants
inline PyObject* new_tape(Arguments& from) {
    return from.in_bits([&](auto number) {
        using T = decltype(number);
        Shape shape{};
        shape.channels = int(from.count(1, kMostChannels)), shape.blocks = int(from.count(0, kMostDegrees));
        shape.rows = int(from.count(kSplines)), shape.angular = from.integer() != 0, shape.norm = from.integer() != 0;
        shape.eps = from.number();
        const int64_t* widths = from.array<const int64_t>();
        for (int64_t k = 0; k < from.last(); ++k) {
            if (widths[k] < 1 || widths[k] > kMostChannels)
                throw std::runtime_error("a width of the readout is out of range");
            shape.readout.push_back(widths[k]);
        }
        return capsule(new Tape<T>(shape, invariants_of<T>(from)), kTape<T>);
    });
}

// atoms, then the pairs and their sphere
template <class T> Surroundings<T> surroundings(const Tape<T>& tape, Arguments& from) {
    Surroundings<T> at{};
    at.atoms = from.count();
    at.pairs = pair_list<T>(from, at.atoms, tape.rows());
    at.sphere = sphere<T>(from, at.pairs.n);
    if (at.sphere.harmonics != tape.harmonics())
        throw std::runtime_error("the harmonics do not reach the degree of the network, or go beyond it");
    return at;
}

// bits, tape, surroundings, weights, for the last two passes their gradients, then the arrays of the pass
template <Pass P> PyObject* run_tape(Arguments& from) {
    return from.in_bits([&](auto number) {
        using T = decltype(number);
        auto& tape = *open<Tape<T>>(from.object(), kTape<T>);
        const Surroundings<T> at = surroundings<T>(tape, from);
        constexpr bool bars = P == Pass::second || P == Pass::finish;
        tape.check(at, P);
        tape.weights([&](Weight<T>& weight, int64_t size) { weight.value = from.array<const T>(size); });
        tape.weights([&](Weight<T>& weight, int64_t size) { weight.bar = bars ? from.array<T>(size) : nullptr; });
        if constexpr (P == Pass::forward) {
            tape.forward(at, from.array<T>(at.atoms));
        } else {
            const T* in = from.array<const T>(P == Pass::second ? 3 * at.pairs.n : at.atoms);
            if constexpr (P == Pass::reverse) tape.reverse(at, in, from.array<T>(3 * at.pairs.n));
            if constexpr (P == Pass::second) tape.second(at, in, from.array<T>(at.atoms));
            if constexpr (P == Pass::finish) tape.finish(at, in);
        }
        tape.passed(P);
        Py_RETURN_NONE;
    });
}

}  // namespace ru::training
