// Filters of the distance: W(r) = Σ_q w_q(r) C_(k+q), q = 0 … 5, with C the rows of a table, k the interval that r lies
// in and w_q a quintic B-spline times the envelope.
#pragma once
#include "simd.hpp"

namespace ru {

constexpr int kSplines = 6;  // rows of a table that a distance reads

// Σ_q w_q C_q, w numbers or vectors.
template <class T, class V, class W> inline V filter(const T* rows, int width, const W* w) {
    V f = w[0] * read<T, V>(rows);
#pragma GCC unroll 6
    for (int q = 1; q < kSplines; ++q) f += w[q] * read<T, V>(rows + q * width);
    return f;
}

// The envelope falls as w goes from 1 to 0 with 1 − w growing linearly in r: 10 w³ − 15 w⁴ + 6 w⁵, and its first and
// second derivative by 1 − w.
template <class T, class V> inline V fade(V w) { return w * w * w * (T(10) + w * (T(-15) + T(6) * w)); }
template <class T, class V> inline V fade_slope(V w, V rest) { return T(-30) * w * w * rest * rest; }
template <class T, class V> inline V fade_bend(V w, V rest) { return T(60) * w * rest * (T(1) - T(2) * w); }

// The B-splines b that reach into an interval and their derivatives d by t, at t in [0, 1): closed forms for vectors.
template <class T> inline void spline_values(Vec<T> t, Vec<T>* b, Vec<T>* d) {
    using V = Vec<T>;
    const T c = T(1.0 / 120), e = T(1.0 / 24);
    const V s = T(1) - t, t2 = t * t, s2 = s * s;
    b[0] = c * s2 * s2 * s;
    b[5] = c * t2 * t2 * t;
    b[1] = c * (T(26) + t * (T(-50) + t * (T(20) + t * (T(20) + t * (T(-20) + T(5) * t)))));
    b[4] = c * (T(26) + s * (T(-50) + s * (T(20) + s * (T(20) + s * (T(-20) + T(5) * s)))));
    b[2] = c * (T(66) + t2 * (T(-60) + t2 * (T(30) - T(10) * t)));
    b[3] = c * (T(66) + s2 * (T(-60) + s2 * (T(30) - T(10) * s)));
    d[0] = -e * s2 * s2;
    d[5] = e * t2 * t2;
    d[1] = e * (T(-10) + t * (T(8) + t * (T(12) + t * (T(-16) + T(5) * t))));
    d[4] = -e * (T(-10) + s * (T(8) + s * (T(12) + s * (T(-16) + T(5) * s))));
    d[2] = e * t * (T(-24) + t2 * (T(24) - T(10) * t));
    d[3] = -e * s * (T(-24) + s2 * (T(24) - T(10) * s));
}

// The same by the recursion of Cox and de Boor, which gives the second derivatives too.
template <class T> struct Splines {
    T b[kSplines][kSplines] = {{T(1)}};  // by degree

    explicit Splines(T t) {
        for (int d = 1; d < kSplines; ++d)
            for (int q = 0; q <= d; ++q) {
                const T* lower = b[d - 1];
                b[d][q] =
                    ((q ? (t + T(d - q)) * lower[q - 1] : T(0)) + (q < d ? (T(q + 1) - t) * lower[q] : T(0))) / T(d);
            }
    }
    T value(int q) const { return b[5][q]; }
    T slope(int q) const { return at(4, q - 1) - at(4, q); }
    T bend(int q) const { return at(3, q - 2) - T(2) * at(3, q - 1) + at(3, q); }

  private:
    T at(int d, int q) const { return q >= 0 && q <= d ? b[d][q] : T(0); }
};

}  // namespace ru
