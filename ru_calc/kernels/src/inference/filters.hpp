// Weights of the six rows of a table, for the pairs of one atom: the envelope times the B-splines, and the slope.
#pragma once
#include "../common/splines.hpp"
#include "geometry.hpp"
#include "model.hpp"

namespace ru::inference {

template <class T> struct FilterWeights {
    alignas(64) T value[kSplines][kMost], slope[kSplines][kMost];

    // `slope` only where it is wanted.
    void set(const Model<T>& model, const Geometry<T>& pairs, Span span, bool with_slope) {
        using V = Vec<T>;
        const T per_step = T(1 / model.step), per_fade = T(1 / model.fade), step_per_fade = T(model.step / model.fade);
        for (int p = 0; p < span.n; p += lanes<T>) {
            const V t = load<T>(pairs.t.get() + span.begin + p);
            // The envelope from the cutoff inwards: exact where it vanishes.
            V w = (T(model.intervals) - pairs.intervals(span.begin + p) - t) * step_per_fade;
            w = w > T(1) ? splat<T>(1) : w;
            const V f = fade<T>(w), df = fade_slope<T, V>(w, T(1) - w) * per_fade;
            V b[kSplines], d[kSplines];
            spline_values<T>(t, b, d);
#pragma GCC unroll 6
            for (int q = 0; q < kSplines; ++q) {
                store<T>(&value[q][p], f * b[q]);
                if (with_slope) store<T>(&slope[q][p], f * d[q] * per_step + df * b[q]);
            }
        }
    }
};

}  // namespace ru::inference
