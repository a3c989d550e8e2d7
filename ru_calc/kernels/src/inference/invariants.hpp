// Invariants of the angular density of one atom, and their reverse.
#pragma once
#include "angular.hpp"

namespace ru::inference {

// Third order of one atom: f[coupling] = Σ_a O_a S_a, S_a = Σ_bc G B_b B_c, kept in `sums` by group.
template <class T> inline void triples(const Angular<T>& e, const T* mixed, T* products, T* sums, T* f) {
    constexpr int L = lanes<T>;
    const int stride = e.mixed, t = e.triple;
    for (int c = 0; c < t; c += L) {
        const T *once = mixed + e.radial + c, *twice = once + t;
        for (size_t q = 0; q < e.products.size(); ++q)
            store<T>(products + q * L,
                     load<T>(twice + e.products[q].b * stride) * load<T>(twice + e.products[q].c * stride));
        for (int k = 0; k < e.couplings; ++k) store<T>(f + k * t + c, Vec<T>{});
        for (size_t q = 0; q < e.groups.size(); ++q) {
            const TripleGroup& group = e.groups[q];
            Vec<T> s{};
            for (int k = group.begin; k < group.end; ++k)
                s += e.terms[k].weight * load<T>(products + e.terms[k].index * L);
            store<T>(sums + q * t + c, s);
            T* into = f + group.coupling * t + c;
            store<T>(into, load<T>(into) + s * load<T>(once + group.a * stride));
        }
    }
}

// Adds to mixed_bar; `sums` becomes its adjoint.
template <class T>
inline void triples_reverse(const Angular<T>& e, const T* mixed, T* sums, const T* f_bar, T* mixed_bar) {
    constexpr int L = lanes<T>;
    const int stride = e.mixed, t = e.triple;
    for (int c = 0; c < t; c += L) {
        const T *once = mixed + e.radial + c, *twice = once + t;
        T *once_bar = mixed_bar + e.radial + c, *twice_bar = once_bar + t;
        for (size_t q = 0; q < e.groups.size(); ++q) {
            const TripleGroup& group = e.groups[q];
            const Vec<T> bar = load<T>(f_bar + group.coupling * t + c);
            T* o = once_bar + group.a * stride;
            store<T>(o, load<T>(o) + bar * load<T>(sums + q * t + c));
            store<T>(sums + q * t + c, bar * load<T>(once + group.a * stride));
        }
        for (const TripleProduct& product : e.products) {
            Vec<T> bar{};
            for (int k = product.begin; k < product.end; ++k)
                bar += e.reverse_terms[k].weight * load<T>(sums + e.reverse_terms[k].index * t + c);
            T *b = twice_bar + product.b * stride, *cc = twice_bar + product.c * stride;
            store<T>(b, load<T>(b) + bar * load<T>(twice + product.c * stride));
            store<T>(cc, load<T>(cc) + bar * load<T>(twice + product.b * stride));
        }
    }
}

// f: A_00, then per degree Σ_m A² and Σ_m A (M A), both over 2 l + 1, then the third order.
template <class T> inline void invariants(const Angular<T>& e, const T* a, const T* mixed, T* products, T* sums, T* f) {
    constexpr int L = lanes<T>;
    const int n = e.radial;
    for (int c = 0; c < n; c += L) {
        store<T>(f + c, load<T>(a + c));
        for (int l = 0, lm = 0; l <= e.l_max; ++l) {
            Vec<T> square{}, cross{};
            for (int m = 0; m < 2 * l + 1; ++m, ++lm) {
                const Vec<T> x = load<T>(a + lm * n + c);
                square += x * x, cross += x * load<T>(mixed + lm * e.mixed + c);
            }
            store<T>(f + n * (1 + 2 * l) + c, square * e.by_degree[l]);
            store<T>(f + n * (2 + 2 * l) + c, cross * e.by_degree[l]);
        }
    }
    triples<T>(e, mixed, products, sums, f + n * (2 * e.l_max + 3));
}

// Overwrites a_bar and mixed_bar.
template <class T> inline void invariants_reverse(const Angular<T>& e, const T* a, const T* mixed, T* sums,
                                                  const T* f_bar, T* a_bar, T* mixed_bar) {
    constexpr int L = lanes<T>;
    const int n = e.radial;
    std::fill(mixed_bar, mixed_bar + size_t(e.harmonics) * e.mixed, T(0));
    for (int c = 0; c < n; c += L)
        for (int l = 0, lm = 0; l <= e.l_max; ++l) {
            const Vec<T> square = T(2) * e.by_degree[l] * load<T>(f_bar + n * (1 + 2 * l) + c);
            const Vec<T> cross = e.by_degree[l] * load<T>(f_bar + n * (2 + 2 * l) + c);
            for (int m = 0; m < 2 * l + 1; ++m, ++lm) {
                const Vec<T> x = load<T>(a + lm * n + c);
                Vec<T> bar = square * x + cross * load<T>(mixed + lm * e.mixed + c);
                if (lm == 0) bar += load<T>(f_bar + c);
                store<T>(a_bar + lm * n + c, bar);
                store<T>(mixed_bar + lm * e.mixed + c, cross * x);
            }
        }
    triples_reverse<T>(e, mixed, sums, f_bar + n * (2 * e.l_max + 3), mixed_bar);
}

}  // namespace ru::inference
