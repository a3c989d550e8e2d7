// The functions of a network, for vectors of numbers.
#pragma once
#include "simd.hpp"

namespace ru {

// The bits of a float as an integer and back.
template <class T> inline IVec<T> bits(Vec<T> v) {
    IVec<T> i;
    std::memcpy(&i, &v, sizeof i);
    return i;
}
template <class T> inline Vec<T> from_bits(IVec<T> i) {
    Vec<T> v;
    std::memcpy(&v, &i, sizeof v);
    return v;
}

template <class T> struct Format;
template <> struct Format<float> {
    static constexpr int mantissa = 23, bias = 127, exp_terms = 7, log_terms = 5;
    static constexpr float limit = 87.0f, shift = 12582912.0f;  // 1.5 · 2^23 rounds to an integer when added
};
template <> struct Format<double> {
    static constexpr int mantissa = 52, bias = 1023, exp_terms = 13, log_terms = 12;
    static constexpr double limit = 700.0, shift = 6755399441055744.0;
};

// e^x, to a few units in the last place: 2^n · e^r with |r| ≤ ½ ln 2, e^r by its Taylor polynomial.
template <class T> inline Vec<T> exponential(Vec<T> x) {
    using F = Format<T>;
    x = x > F::limit ? splat<T>(F::limit) : x;
    x = x < -F::limit ? splat<T>(-F::limit) : x;
    const Vec<T> rounded = x * T(1.4426950408889634) + F::shift;
    const Vec<T> n = rounded - F::shift;
    Vec<T> r = x - n * T(0.693145751953125);  // exact: few digits
    r = r - n * T(1.42860682030941723e-6);
    constexpr double inverse[] = {1.0,     1.0,     1.0 / 2, 1.0 / 3,  1.0 / 4,  1.0 / 5,  1.0 / 6,
                                  1.0 / 7, 1.0 / 8, 1.0 / 9, 1.0 / 10, 1.0 / 11, 1.0 / 12, 1.0 / 13};
    Vec<T> p = splat<T>(1);
#pragma GCC unroll 16
    for (int k = F::exp_terms; k >= 1; --k) p = T(1) + p * r * T(inverse[k]);
    const IVec<T> power = (bits<T>(rounded) - bits<T>(splat<T>(F::shift)) + F::bias) << F::mantissa;
    return p * from_bits<T>(power);
}

// ln y for y ≥ 1: exponent, and 2 artanh((m − 1) / (m + 1)) of the mantissa m in [√½, √2).
template <class T> inline Vec<T> logarithm(Vec<T> y) {
    using F = Format<T>;
    using I = typename Simd<T>::Integer;
    const I one = I(F::bias) << F::mantissa, mask = (I(1) << F::mantissa) - 1;
    IVec<T> i = bits<T>(y);
    Vec<T> m = from_bits<T>((i & mask) | one);
    IVec<T> n = (i >> F::mantissa) - F::bias;
    const IVec<T> high = m > T(1.4142135623730951);
    m = high ? m * T(0.5) : m;
    n = n - high;
    const Vec<T> f = (m - T(1)) / (m + T(1)), f2 = f * f;
    Vec<T> p = splat<T>(T(1.0 / (2 * F::log_terms + 1)));
#pragma GCC unroll 16
    for (int k = F::log_terms - 1; k >= 0; --k) p = T(1.0 / (2 * k + 1)) + p * f2;
    return __builtin_convertvector(n, Vec<T>) * T(0.6931471805599453) + T(2) * f * p;
}

template <class T> inline Vec<T> magnitude(Vec<T> x) { return x < T(0) ? -x : x; }

template <class T> inline Vec<T> arsinh(Vec<T> x) {
    const Vec<T> a = magnitude<T>(x);
    const Vec<T> y = logarithm<T>(a + square_root<T>(a * a + T(1)));
    return x < T(0) ? -y : y;
}

template <class T> inline Vec<T> sigmoid(Vec<T> x) { return T(1) / (T(1) + exponential<T>(-x)); }

// y σ(y), and its slope.
template <class T> inline Vec<T> silu(Vec<T> y) { return y * sigmoid<T>(y); }
template <class T> inline Vec<T> silu_slope(Vec<T> y) {
    const Vec<T> g = sigmoid<T>(y);
    return g * (T(1) + y * (T(1) - g));
}

}  // namespace ru
