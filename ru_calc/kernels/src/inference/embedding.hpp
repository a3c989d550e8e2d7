// The angular embedding: density, invariants, and the first dense layer; and back to forces.
#pragma once
#include "interaction.hpp"
#include "invariants.hpp"
#include "pairs.hpp"

namespace ru::inference {

// Calls f(first atom, its place in the tile, how many): mixings of a whole tile would not stay in cache.
template <class F> inline void angular_tiles(int begin, int n, F f) {
    for (int q = 0; q < n; q += kAngularTile) f(begin + q, q, std::min(kAngularTile, n - q));
}

// Y and R of some pairs of an atom.
template <class T> inline void look_around(const Worker<T>& own, Span span, bool with_slope) {
    const Angular<T>& e = own.model.embedding;
    const Geometry<T>& pairs = own.work.geometry;
    DensityScratch<T>& s = own.scratch.density;
    own.scratch.weights.set(own.model, pairs, span, with_slope);
    pair_harmonics<T>(e, pairs, span, s.y.get());
    radial_functions<T>(e, pairs, own.scratch.weights, span, s.radial.get(),
                        with_slope ? s.radial_slope.get() : nullptr);
}

template <class T> inline void mix(const Worker<T>& own, int i, int n) {
    const Angular<T>& e = own.model.embedding;
    multiply<T>(n * e.harmonics, own.density(i), e.mix.forward, own.scratch.mixed.get(), false);
}

template <class T> inline void embed(const Worker<T>& own, int begin, int n) {
    const Angular<T>& e = own.model.embedding;
    ThreadScratch<T>& s = own.scratch;
    T* f = s.invariants.get();
    for (int i = begin; i < begin + n; ++i) {
        std::fill_n(own.density(i), e.harmonics * e.radial, T(0));
        own.work.geometry.all_spans(i, [&](Span span) {
            look_around(own, span, false);
            add_density<T>(e, span.n, s.density.y.get(), s.density.radial.get(), own.density(i));
        });
    }
    angular_tiles(begin, n, [&](int i, int q, int count) {
        mix(own, i, count);
        for (int r = 0; r < count; ++r)
            invariants<T>(e, own.density(i + r), s.mixed.get() + r * e.harmonics * e.mixed, s.products.get(),
                          s.sums.get(), f + (q + r) * e.features);
    });
    for (int q = 0; q < n * e.features; q += lanes<T>) store<T>(f + q, arsinh<T>(load<T>(f + q)));
    if (own.request.mahalanobis) multiply<T>(n, f, e.to_whitened.forward, own.whitened(begin), true);
    const Source<T>& source = own.model.sources[0];
    affine<T>(n, f, source.in.forward, source.bias.get(), own.hidden(0, begin));
    pass_on(own, 0, begin, n);
}

// f̄ behind asinh becomes Ā and the adjoint of the mixings of atom i, number r of its tile.
template <class T> inline void reverse_invariants(const Worker<T>& own, int i, int r, T* f_bar) {
    const Angular<T>& e = own.model.embedding;
    ThreadScratch<T>& s = own.scratch;
    const T* mixed = s.mixed.get() + r * e.harmonics * e.mixed;
    T* f = s.invariants.get() + kTile * e.features;
    invariants<T>(e, own.density(i), mixed, s.products.get(), s.sums.get(), f);
    for (int c = 0; c < e.features; c += lanes<T>) {
        const Vec<T> x = load<T>(f + c);
        store<T>(f_bar + c, load<T>(f_bar + c) / square_root<T>(T(1) + x * x));
    }
    invariants_reverse<T>(e, own.density(i), mixed, s.sums.get(), f_bar,
                          s.density_bar.get() + r * e.harmonics * e.radial,
                          s.mixed_bar.get() + r * e.harmonics * e.mixed);
}

template <class T> inline void reverse_density(const Worker<T>& own, int i, const T* a_bar) {
    const Geometry<T>& pairs = own.work.geometry;
    const auto& gradient = own.scratch.density.gradient;
    double* fi = own.scratch.force.get() + 3 * size_t(i);
    pairs.all_spans(i, [&](Span span) {
        look_around(own, span, true);
        density_reverse<T>(own.model.embedding, pairs, span, own.model.step, a_bar, own.scratch.density);
        for (int p = 0; p < span.n; ++p) {
            const int64_t q = span.begin + p;
            double g[3], direction[3];
            for (int a = 0; a < 3; ++a) g[a] = double(gradient[a].get()[p]);
            double* fj = own.scratch.force.get() + 3 * size_t(pairs.atom.get()[q]);
            for (int a = 0; a < 3; ++a) fi[a] += g[a], fj[a] -= g[a];
            if (own.request.virials) {
                pairs.direction(q, direction);
                add_virials<true>(own, i, pairs.atom.get()[q], direction, g, pairs.distance(q, own.model.step));
            }
            if (!own.request.virial) continue;
            pairs.direction(q, direction);
            add_virial(own, i, direction, g, pairs.distance(q, own.model.step));
        }
    });
}

template <class T> inline void reverse_embed(const Worker<T>& own, int begin, int n) {
    const Angular<T>& e = own.model.embedding;
    ThreadScratch<T>& s = own.scratch;
    T* f_bar = s.invariants.get();
    const T* bar = collect(own, 0, begin, n);
    multiply<T>(n, bar, own.model.sources[0].in.backward, f_bar, false);
    angular_tiles(begin, n, [&](int i, int q, int count) {
        mix(own, i, count);
        for (int r = 0; r < count; ++r) reverse_invariants(own, i + r, r, f_bar + (q + r) * e.features);
        multiply<T>(count * e.harmonics, s.mixed_bar.get(), e.mix.backward, s.density_bar.get(), true);
        for (int r = 0; r < count; ++r) reverse_density(own, i + r, s.density_bar.get() + r * e.harmonics * e.radial);
    });
}

}  // namespace ru::inference
