// The parts of a network as the passes want them: tables, packed matrices, padded widths.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "../common/matrix.hpp"

namespace ru::inference {

// Where a model comes from: arrays of doubles and numbers by name (see `Packing` in tables/packing.py).
struct Spec {
    std::function<std::vector<double>(const std::string&)> array;
    std::function<double(const std::string&)> number;
};

// Uniform quintic B-spline of `width` functions of the distance, `intervals + 5` rows of coefficients.
template <class T> struct Table {
    int width = 0;
    Buffer<T> rows;

    void fill(const std::vector<double>& values, int intervals) {
        width = int(values.size() / (intervals + 5));
        T* out = rows.ensure(values.size());
        for (size_t i = 0; i < values.size(); ++i) out[i] = T(values[i]);
    }
};

// y = M x and x̄ = Mᵀ ȳ.
template <class T> struct Dense {
    Packed<T> forward, backward;

    void fill(const std::vector<double>& m, int rows) {
        if (m.empty()) return;
        const int columns = int(m.size() / rows);
        forward.pack(columns, rows, [&](int i, int o) { return m[size_t(o) * columns + i]; });
        backward.pack(rows, columns, [&](int o, int i) { return m[size_t(o) * columns + i]; });
    }
    bool empty() const { return forward.k == 0; }
};

template <class T> struct Vector {
    Buffer<T> data;
    int size = 0;
    void fill(const std::vector<double>& values) {
        size = int(values.size());
        T* out = data.ensure(values.size() + 1);
        for (int i = 0; i < size; ++i) out[i] = T(values[i]);
    }
    const T* get() const { return data.get(); }
};

// Source k: s_k = silu(norm(in · x + bias)), which feeds h_b = start_b + Σ_k to_block[b] s_k and z = Σ_k to_head s_k;
// to_whitened, of blocks in models with an uncertainty, gives its part of the whitened features.
template <class T> struct Source {
    Dense<T> in, to_head, to_whitened;
    Vector<T> bias, scale, offset;
    bool norm = false;
    std::vector<Dense<T>> to_block;
};

}  // namespace ru::inference
