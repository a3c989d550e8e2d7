// Vectors of T that fit the instruction set this file is compiled for.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX512F__)
#define RU_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define RU_VECTOR_BYTES 32
#else
#define RU_VECTOR_BYTES 16
#endif

namespace ru {

template <class T> struct IntegerOf;
template <> struct IntegerOf<float> {
    using type = int32_t;
};
template <> struct IntegerOf<double> {
    using type = int64_t;
};

template <class T> struct Simd {
    using Integer = typename IntegerOf<T>::type;
    typedef T V __attribute__((vector_size(RU_VECTOR_BYTES)));
    typedef Integer I __attribute__((vector_size(RU_VECTOR_BYTES)));
    typedef T Anywhere __attribute__((vector_size(RU_VECTOR_BYTES), aligned(alignof(T))));
    static constexpr int lanes = RU_VECTOR_BYTES / sizeof(T);
};

template <class T> using Vec = typename Simd<T>::V;
template <class T> using IVec = typename Simd<T>::I;
template <class T> constexpr int lanes = Simd<T>::lanes;

template <class T> inline Vec<T> load(const T* p) { return *reinterpret_cast<const typename Simd<T>::Anywhere*>(p); }
template <class T> inline void store(T* p, Vec<T> v) { *reinterpret_cast<typename Simd<T>::Anywhere*>(p) = v; }
template <class T> inline Vec<T> splat(T x) { return x - Vec<T>{}; }  // x − 0 is x, also where 0 + x is not (−0)

template <class T> inline T sum(Vec<T> v) {
    T part[lanes<T>];
    store<T>(part, v);
    for (int width = lanes<T> / 2; width > 0; width /= 2)
        for (int k = 0; k < width; ++k) part[k] += part[k + width];
    return part[0];
}

// Rows become columns.
template <class T> inline void transpose(Vec<T>* rows) {
    constexpr int L = lanes<T>;
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 4
    for (int w = L / 2; w > 0; w /= 2) {
        IVec<T> low{}, high{};
        for (int k = 0; k < L; ++k) low[k] = k & w ? L + k - w : k, high[k] = k & w ? L + k : k + w;
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i)
            if (!(i & w)) {
                const Vec<T> a = rows[i], b = rows[i + w];
                rows[i] = __builtin_shuffle(a, b, low), rows[i + w] = __builtin_shuffle(a, b, high);
            }
    }
#else
    for (int i = 0; i < L; ++i)
        for (int k = 0; k < i; ++k) {
            const T swap = rows[i][k];
            rows[i][k] = rows[k][i], rows[k][i] = swap;
        }
#endif
}

template <class T> inline Vec<T> square_root(Vec<T> v) {
    for (int k = 0; k < lanes<T>; ++k) v[k] = std::sqrt(v[k]);
    return v;
}

// A lane by itself stands in for a vector where a width is no multiple of the vector's.
template <class T, class V> inline V read(const T* p) {
    if constexpr (sizeof(V) == sizeof(T)) return *p;
    else return load<T>(p);
}
template <class T, class V> inline void write(T* p, V v) {
    if constexpr (sizeof(V) == sizeof(T)) *p = v;
    else store<T>(p, v);
}
template <class T, class V> inline T total(V v) {
    if constexpr (sizeof(V) == sizeof(T)) return v;
    else return sum<T>(v);
}

// Calls f(integral constant CH, first channel) over a width that fills whole vectors, in chunks of at most Most
// vectors.
template <class T, int Most, class F> inline void in_chunks(int width, F f) {
    constexpr int L = lanes<T>;
    int c = 0;
    for (; c + Most * L <= width; c += Most * L) f(std::integral_constant<int, Most>{}, c);
    for (; c < width; c += L) f(std::integral_constant<int, 1>{}, c);
}

// Calls f(vector type, integral constant CH, first channel) over any width: chunks of Most vectors, single ones, lanes.
template <class T, int Most, class F> inline void over_width(int width, F f) {
    constexpr int L = lanes<T>;
    int c = 0;
    for (; c + Most * L <= width; c += Most * L) f(Vec<T>{}, std::integral_constant<int, Most>{}, c);
    for (; c + L <= width; c += L) f(Vec<T>{}, std::integral_constant<int, 1>{}, c);
    for (; c < width; ++c) f(T{}, std::integral_constant<int, 1>{}, c);
}

}  // namespace ru
