// Products of small matrices that are used once: no packing, any width, any stride of the left factor.
#pragma once
#include <memory>
#include <vector>

#include "../common/matrix.hpp"

namespace ru::training {

// Memory whose numbers are not set: most of it is written as a whole right away.
template <class T> struct Unset : std::allocator<T> {
    template <class U> struct rebind {
        using other = Unset<U>;
    };
    template <class U> void construct(U* p) { ::new (static_cast<void*>(p)) U; }
    template <class U, class... Arguments> void construct(U* p, Arguments&&... arguments) {
        ::new (static_cast<void*>(p)) U(std::forward<Arguments>(arguments)...);
    }
};
template <class T> using Rows = std::vector<T, Unset<T>>;
template <class T> Rows<T> zeros(int64_t n) { return Rows<T>(size_t(n), T(0)); }

// c (MR × CH vectors) = or += a (MR × k; element (r, i) at r ra + i ca) · b (k × …, rows ldb apart)
template <class T, class V, int MR, int CH, bool Add>
inline void product_block(int k, const T* a, int64_t ra, int64_t ca, const T* b, int64_t ldb, T* c, int64_t ldc) {
    constexpr int L = sizeof(V) / sizeof(T);
    V sum_[MR][CH];
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < CH; ++v) sum_[r][v] = Add ? read<T, V>(c + r * ldc + v * L) : V{};
    for (int i = 0; i < k; ++i, b += ldb, a += ca) {
        V w[CH];
#pragma GCC unroll 8
        for (int v = 0; v < CH; ++v) w[v] = read<T, V>(b + v * L);
#pragma GCC unroll 8
        for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < CH; ++v) sum_[r][v] += a[r * ra] * w[v];
    }
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < CH; ++v) write<T, V>(c + r * ldc + v * L, sum_[r][v]);
}

// c (m × n) = or += a (m × k) · b (k × n); a by strides, b and c row after row.
template <class T, bool Add>
void product(int64_t m, int n, int k, const T* a, int64_t ra, int64_t ca, const T* b, T* c) {
    over_width<T, kPanel>(n, [&](auto v, auto ch, int c0) {
        using V = decltype(v);
        constexpr int CH = decltype(ch)::value;
        int64_t r = 0;
        for (; r + kRows <= m; r += kRows)
            product_block<T, V, kRows, CH, Add>(k, a + r * ra, ra, ca, b + c0, n, c + r * n + c0, n);
        for (; r + 2 <= m; r += 2) product_block<T, V, 2, CH, Add>(k, a + r * ra, ra, ca, b + c0, n, c + r * n + c0, n);
        for (; r < m; ++r) product_block<T, V, 1, CH, Add>(k, a + r * ra, ra, ca, b + c0, n, c + r * n + c0, n);
    });
}

// A weight matrix w (out × in) and its transpose.
template <class T> struct Matrix {
    int out = 0, in = 0;
    const T* w = nullptr;
    Rows<T> transposed;

    void set(const T* weight, int rows, int columns) {
        out = rows, in = columns, w = weight, transposed.resize(size_t(rows) * columns);
        for (int o = 0; o < out; ++o)
            for (int i = 0; i < in; ++i) transposed[size_t(i) * out + o] = w[size_t(o) * in + i];
    }
    // y (n × out) = or += x (n × in) wᵀ
    template <bool Add = false> void apply(int64_t n, const T* x, T* y) const {
        product<T, Add>(n, out, in, x, in, 1, transposed.data(), y);
    }
    // x (n × in) = y (n × out) w
    void back(int64_t n, const T* y, T* x) const { product<T, false>(n, in, out, y, out, 1, w, x); }
};

// w_bar (out × in) += yᵀ x
template <class T> void add_outer(int64_t n, int out, int in, const T* y, const T* x, T* w_bar) {
    product<T, true>(out, in, int(n), y, 1, out, x, w_bar);
}

template <class T> void add_rows(int64_t n, int width, const T* x, T* sum_) {
    for (int64_t i = 0; i < n; ++i)
        for (int k = 0; k < width; ++k) sum_[k] += x[i * width + k];
}

}  // namespace ru::training
