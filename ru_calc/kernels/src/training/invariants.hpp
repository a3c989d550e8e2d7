// Invariants of the angular density, with first and second derivatives.  `second` takes the adjoint of what `reverse`
// gave, and gives the adjoints of what `reverse` took.
#pragma once
#include <vector>

#include "../common/simd.hpp"

namespace ru::training {

// f[coupling] += O[a] Σ weight · B[b] B[c], the sum over a range of `terms`.
struct TripleSum {
    int coupling, a, begin, end;
};
template <class T> struct Triple {
    int b, c;
    T weight;
};

// Features per atom: A_00, then for each degree Σ_m A² and Σ_m A (MA), both over 2l + 1, then the couplings.  `mixed`
// holds MA, and O and B of the couplings, for each (l, m).
template <class T> struct Invariants {
    int n, l_max, triple, couplings;
    std::vector<TripleSum> sums;
    std::vector<Triple<T>> terms;

    void add_term(int coupling, int a, Triple<T> term) {
        const int end = int(terms.size());
        if (sums.empty() || sums.back().coupling != coupling || sums.back().a != a)
            sums.push_back({coupling, a, end, end});
        terms.push_back(term), sums.back().end = end + 1;
    }

    int harmonics() const { return (l_max + 1) * (l_max + 1); }
    int mixed() const { return n + 2 * triple; }
    int features() const { return n * (2 * l_max + 3) + triple * couplings; }

    void forward(const T* a, const T* m, T* f) const {
        const int wide = mixed();
        over_width<T, 1>(n, [&](auto v, auto, int c) {
            using V = decltype(v);
            write<T, V>(f + c, read<T, V>(a + c));
            for (int l = 0, k = 0; l <= l_max; ++l) {
                V square{}, cross{};
                for (int end = k + 2 * l + 1; k < end; ++k) {
                    const V x = read<T, V>(a + k * n + c);
                    square += x * x, cross += x * read<T, V>(m + k * wide + c);
                }
                write<T, V>(f + n * (1 + 2 * l) + c, square / T(2 * l + 1));
                write<T, V>(f + n * (2 + 2 * l) + c, cross / T(2 * l + 1));
            }
        });
        over_width<T, 1>(triple, [&](auto v, auto, int c) {
            using V = decltype(v);
            const T *once = m + n + c, *twice = once + triple;
            T* out = f + n * (2 * l_max + 3) + c;
            for (int k = 0; k < couplings; ++k) write<T, V>(out + k * triple, V{});
            for (const auto& s : sums) {
                V product{};
                for (int k = s.begin; k < s.end; ++k)
                    product +=
                        terms[k].weight * read<T, V>(twice + terms[k].b * wide) * read<T, V>(twice + terms[k].c * wide);
                add<V>(out + s.coupling * triple, product * read<T, V>(once + s.a * wide));
            }
        });
    }

    // Overwrites a_bar and m_bar.
    void reverse(const T* a, const T* m, const T* f_bar, T* a_bar, T* m_bar) const {
        const int wide = mixed();
        over_width<T, 1>(n, [&](auto v, auto, int c) {
            using V = decltype(v);
            for (int l = 0, k = 0; l <= l_max; ++l) {
                const V square = read<T, V>(f_bar + n * (1 + 2 * l) + c) * T(2.0 / (2 * l + 1));
                const V cross = read<T, V>(f_bar + n * (2 + 2 * l) + c) * T(1.0 / (2 * l + 1));
                for (int end = k + 2 * l + 1; k < end; ++k) {
                    const V x = read<T, V>(a + k * n + c);
                    V bar = square * x + cross * read<T, V>(m + k * wide + c);
                    if (k == 0) bar += read<T, V>(f_bar + c);
                    write<T, V>(a_bar + k * n + c, bar);
                    write<T, V>(m_bar + k * wide + c, cross * x);
                }
            }
        });
        over_width<T, 1>(triple, [&](auto v, auto, int c) {
            using V = decltype(v);
            const T *once = m + n + c, *twice = once + triple, *bar = f_bar + n * (2 * l_max + 3) + c;
            T *once_bar = m_bar + n + c, *twice_bar = once_bar + triple;
            for (int k = 0; k < harmonics(); ++k)
                write<T, V>(once_bar + k * wide, V{}), write<T, V>(twice_bar + k * wide, V{});
            for (const auto& s : sums) {
                const V g = read<T, V>(bar + s.coupling * triple), go = g * read<T, V>(once + s.a * wide);
                V product{};
                for (int k = s.begin; k < s.end; ++k) {
                    const Triple<T>& t = terms[k];
                    const V b = read<T, V>(twice + t.b * wide), d = read<T, V>(twice + t.c * wide),
                            weighted = t.weight * go;
                    product += t.weight * b * d;
                    add<V>(twice_bar + t.b * wide, weighted * d);
                    add<V>(twice_bar + t.c * wide, weighted * b);
                }
                add<V>(once_bar + s.a * wide, g * product);
            }
        });
    }

    // With p, q the adjoints of a_bar and m_bar: f_out is the adjoint of f_bar, a_out and m_out those of a and m.
    void second(const T* a, const T* m, const T* f_bar, const T* p, const T* q, T* f_out, T* a_out, T* m_out) const {
        const int wide = mixed();
        over_width<T, 1>(n, [&](auto v, auto, int c) {
            using V = decltype(v);
            write<T, V>(f_out + c, read<T, V>(p + c));
            for (int l = 0, k = 0; l <= l_max; ++l) {
                const V square = read<T, V>(f_bar + n * (1 + 2 * l) + c) * T(2.0 / (2 * l + 1));
                const V cross = read<T, V>(f_bar + n * (2 + 2 * l) + c) * T(1.0 / (2 * l + 1));
                V squares{}, crosses{};
                for (int end = k + 2 * l + 1; k < end; ++k) {
                    const V x = read<T, V>(a + k * n + c), pk = read<T, V>(p + k * n + c);
                    const V y = read<T, V>(m + k * wide + c), qk = read<T, V>(q + k * wide + c);
                    squares += x * pk, crosses += pk * y + qk * x;
                    write<T, V>(a_out + k * n + c, square * pk + cross * qk);
                    write<T, V>(m_out + k * wide + c, cross * pk);
                }
                write<T, V>(f_out + n * (1 + 2 * l) + c, squares * T(2.0 / (2 * l + 1)));
                write<T, V>(f_out + n * (2 + 2 * l) + c, crosses * T(1.0 / (2 * l + 1)));
            }
        });
        over_width<T, 1>(triple, [&](auto v, auto, int c) {
            using V = decltype(v);
            const T *once = m + n + c, *twice = once + triple, *bar = f_bar + n * (2 * l_max + 3) + c;
            const T *once_to = q + n + c, *twice_to = once_to + triple;
            T *once_out = m_out + n + c, *twice_out = once_out + triple, *out = f_out + n * (2 * l_max + 3) + c;
            for (int k = 0; k < couplings; ++k) write<T, V>(out + k * triple, V{});
            for (int k = 0; k < harmonics(); ++k)
                write<T, V>(once_out + k * wide, V{}), write<T, V>(twice_out + k * wide, V{});
            for (const auto& s : sums) {
                const V g = read<T, V>(bar + s.coupling * triple);
                const V o = read<T, V>(once + s.a * wide), ot = read<T, V>(once_to + s.a * wide), go = g * o,
                        got = g * ot;
                V product{}, change{};
                for (int k = s.begin; k < s.end; ++k) {
                    const Triple<T>& t = terms[k];
                    const V b = read<T, V>(twice + t.b * wide), bt = read<T, V>(twice_to + t.b * wide);
                    const V d = read<T, V>(twice + t.c * wide), dt = read<T, V>(twice_to + t.c * wide);
                    product += t.weight * b * d, change += t.weight * (bt * d + b * dt);
                    add<V>(twice_out + t.b * wide, t.weight * (got * d + go * dt));
                    add<V>(twice_out + t.c * wide, t.weight * (got * b + go * bt));
                }
                add<V>(out + s.coupling * triple, ot * product + o * change);
                add<V>(once_out + s.a * wide, g * change);
            }
        });
    }

  private:
    template <class V> static void add(T* p, V v) { write<T, V>(p, read<T, V>(p) + v); }
};

}  // namespace ru::training
