// Real spherical harmonics with Σ_m Y_lm² = 2l + 1, by a recursion that climbs the degrees; see tables/harmonics.py.
#pragma once
#include <vector>

#include "simd.hpp"

namespace ru {

// Y_out += weight · direction[axis] · Y_in; axes count y, z, x, and terms of the same Y_out stand together.
template <class T> struct RaisingTerm {
    int out, axis, in;
    T weight;
};
template <class T> using Raising = std::vector<RaisingTerm<T>>;

constexpr double kFirstDegree = 1.7320508075688772;  // √3

// Y_lm of the directions in the lanes of d, to y + lm · stride.
template <class T> inline void harmonics(int l_max, const Raising<T>& raising, const Vec<T>* d, T* y, int stride) {
    store<T>(y, splat<T>(1));
    for (int a = 0; a < 3 && l_max > 0; ++a) store<T>(y + (1 + a) * stride, d[a] * T(kFirstDegree));
    int last = -1;
    Vec<T> total{};
    for (const auto& term : raising) {
        if (term.out != last) {
            if (last >= 0) store<T>(y + last * stride, total);
            last = term.out, total = Vec<T>{};
        }
        total += term.weight * d[term.axis] * load<T>(y + term.in * stride);
    }
    if (last >= 0) store<T>(y + last * stride, total);
}

}  // namespace ru
