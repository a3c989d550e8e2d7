// Activations and the norm, with first and second derivatives.  `second` takes the adjoint of what `reverse` gave, and
// gives the adjoints of what `reverse` took.
#pragma once
#include <algorithm>

#include "../common/activations.hpp"

namespace ru::training {

// Value, slope and curvature of an activation at the lanes of x.
enum class Activation { silu, asinh };
template <class T> struct Jet {
    Vec<T> value, slope, bend;
};

template <class T> inline Jet<T> jet(Activation kind, Vec<T> x) {
    if (kind == Activation::silu) {
        const Vec<T> s = sigmoid<T>(x), rest = T(1) - s;
        return {x * s, s * (T(1) + x * rest), s * rest * (T(2) + x * (T(1) - T(2) * s))};
    }
    const Vec<T> inverse = T(1) / (x * x + T(1)), slope = square_root<T>(inverse);
    return {arsinh<T>(x), slope, -x * inverse * slope};
}

// Calls f(place, lanes there, x) over n numbers; lanes beyond the end are 0.
template <class T, class F> void by_lanes(int64_t n, const T* x, F f) {
    constexpr int L = lanes<T>;
    int64_t i = 0;
    for (; i + L <= n; i += L) f(i, L, load<T>(x + i));
    if (i == n) return;
    T rest[L] = {};
    std::copy(x + i, x + n, rest);
    f(i, int(n - i), load<T>(rest));
}
template <class T> inline Vec<T> some(const T* p, int count) {
    if (count == lanes<T>) return load<T>(p);
    T rest[lanes<T>] = {};
    std::copy(p, p + count, rest);
    return load<T>(rest);
}
template <class T> void put(T* p, int count, Vec<T> v) {
    if (count == lanes<T>) return store<T>(p, v);
    T rest[lanes<T>];
    store<T>(rest, v);
    std::copy(rest, rest + count, p);
}

template <class T> void activate(Activation kind, int64_t n, const T* x, T* y) {
    by_lanes<T>(n, x, [&](int64_t i, int count, Vec<T> v) { put<T>(y + i, count, jet<T>(kind, v).value); });
}
// g f'(x)
template <class T> void activate_reverse(Activation kind, int64_t n, const T* x, const T* g, T* out) {
    by_lanes<T>(n, x, [&](int64_t i, int count, Vec<T> v) {
        put<T>(out + i, count, some<T>(g + i, count) * jet<T>(kind, v).slope);
    });
}
// c the adjoint of g f'(x): c f'(x) and c g f''(x)
template <class T>
void activate_second(Activation kind, int64_t n, const T* x, const T* g, const T* c, T* g_out, T* x_out) {
    by_lanes<T>(n, x, [&](int64_t i, int count, Vec<T> v) {
        const Jet<T> f = jet<T>(kind, v);
        const Vec<T> to = some<T>(c + i, count);
        put<T>(g_out + i, count, to * f.slope), put<T>(x_out + i, count, to * some<T>(g + i, count) * f.bend);
    });
}

// Sums over a row of products of up to two rows.
template <class T> T row_sum(int n, const T* a, const T* b = nullptr) {
    constexpr int L = lanes<T>;
    Vec<T> wide{};
    int i = 0;
    for (; i + L <= n; i += L) wide += b ? load<T>(a + i) * load<T>(b + i) : load<T>(a + i);
    T all = sum<T>(wide);
    for (; i < n; ++i) all += b ? a[i] * b[i] : a[i];
    return all;
}

// y = (x − mean) · scale, scale = 1 / √(variance + eps), row by row.
template <class T> void norm_rows(int64_t rows, int n, double eps, const T* x, T* y, T* scale) {
    for (int64_t i = 0; i < rows; ++i, x += n, y += n) {
        const T mean = row_sum<T>(n, x) / T(n);
        for (int k = 0; k < n; ++k) y[k] = x[k] - mean;
        scale[i] = T(1) / std::sqrt(row_sum<T>(n, y, y) / T(n) + T(eps));
        for (int k = 0; k < n; ++k) y[k] *= scale[i];
    }
}
// x̄ = scale (g − mean g − y mean(g y))
template <class T> void norm_reverse(int64_t rows, int n, const T* y, const T* scale, const T* g, T* out) {
    for (int64_t i = 0; i < rows; ++i, y += n, g += n, out += n) {
        const T mean = row_sum<T>(n, g) / T(n), along = row_sum<T>(n, g, y) / T(n);
        for (int k = 0; k < n; ++k) out[k] = scale[i] * (g[k] - mean - y[k] * along);
    }
}
// c the adjoint of x̄: the adjoints of g and of x.
template <class T>
void norm_second(int64_t rows, int n, const T* y, const T* scale, const T* g, const T* c, T* g_out, T* x_out) {
    norm_reverse<T>(rows, n, y, scale, c, g_out);
    for (int64_t i = 0; i < rows; ++i, y += n, g += n, c += n, x_out += n) {
        const T g_mean = row_sum<T>(n, g) / T(n), c_mean = row_sum<T>(n, c) / T(n);
        const T a = row_sum<T>(n, g, y) / T(n), b = row_sum<T>(n, c, y) / T(n);
        const T d = row_sum<T>(n, g, c) / T(n) - g_mean * c_mean - 3 * a * b, square = -scale[i] * scale[i];
        for (int k = 0; k < n; ++k) x_out[k] = square * (d * y[k] + b * (g[k] - g_mean) + a * (c[k] - c_mean));
    }
}

}  // namespace ru::training
