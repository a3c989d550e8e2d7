// Products of a few rows with a packed matrix: the dense layers of a tile of atoms.
#pragma once
#include "buffer.hpp"
#include "simd.hpp"

namespace ru {

#if RU_VECTOR_BYTES == 64
constexpr int kRows = 6, kPanel = 4;
#else
constexpr int kRows = 6, kPanel = 2;
#endif

// A (k × n) matrix in panels of kPanel vectors; n is a multiple of the lanes.
template <class T> struct Packed {
    int k = 0, n = 0;
    Buffer<T> data;

    // element(row, column) gives the matrix; rows and columns beyond it are the caller's zeros.
    template <class Element> void pack(int rows, int columns, Element element) {
        k = rows, n = columns;
        T* out = data.ensure(size_t(k) * n + 1);
        const int width = kPanel * lanes<T>;
        for (int start = 0; start < n; start += width) {
            const int w = n - start < width ? n - start : width;
            for (int row = 0; row < k; ++row)
                for (int c = 0; c < w; ++c) *out++ = T(element(row, start + c));
        }
    }
};

template <class T, int MR, int NV>
inline void block(int k, const T* a, int lda, const T* b, T* c, int ldc, bool accumulate) {
    using V = Vec<T>;
    constexpr int L = lanes<T>;
    V acc[MR][NV];
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[r][v] = accumulate ? load<T>(c + r * ldc + v * L) : V{};
    for (int i = 0; i < k; ++i) {
        V w[NV];
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) w[v] = load<T>(b + (size_t(i) * NV + v) * L);
#pragma GCC unroll 8
        for (int r = 0; r < MR; ++r) {
            const V x = splat<T>(a[r * lda + i]);
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) acc[r][v] += x * w[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) store<T>(c + r * ldc + v * L, acc[r][v]);
}

template <class T, int MR, int NV>
inline void panel(int m, int k, const T* a, int lda, const T* b, T* c, int ldc, bool accumulate) {
    for (; m >= MR; m -= MR, a += MR * lda, c += MR * ldc) block<T, MR, NV>(k, a, lda, b, c, ldc, accumulate);
    if constexpr (MR > 1)
        if (m > 0) panel<T, MR / 2, NV>(m, k, a, lda, b, c, ldc, accumulate);
}

// c (m × n) = or += a (m × k) · b (k × n).
template <class T> inline void multiply(int m, const T* a, const Packed<T>& b, T* c, bool accumulate) {
    constexpr int L = lanes<T>;
    const T* data = b.data.get();
    for (int start = 0; start < b.n; start += kPanel * L) {
        const int vectors = (b.n - start) / L < kPanel ? (b.n - start) / L : kPanel;
        switch (vectors) {
            case 1: panel<T, kRows, 1>(m, b.k, a, b.k, data, c + start, b.n, accumulate); break;
            case 2: panel<T, kRows, 2>(m, b.k, a, b.k, data, c + start, b.n, accumulate); break;
#if RU_VECTOR_BYTES == 64
            case 3: panel<T, kRows, 3>(m, b.k, a, b.k, data, c + start, b.n, accumulate); break;
            case 4: panel<T, kRows, 4>(m, b.k, a, b.k, data, c + start, b.n, accumulate); break;
#endif
        }
        data += size_t(b.k) * vectors * L;
    }
}

// y (m × n) = bias + x (m × k) · b (k × n).
template <class T> inline void affine(int m, const T* x, const Packed<T>& b, const T* bias, T* y) {
    for (int r = 0; r < m; ++r) std::copy(bias, bias + b.n, y + r * b.n);
    multiply<T>(m, x, b, y, true);
}

}  // namespace ru
