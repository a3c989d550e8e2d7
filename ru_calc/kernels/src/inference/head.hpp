// The energy pathway: energies of the atoms from z, and z̄.
#pragma once
#include "../common/activations.hpp"
#include "worker.hpp"

namespace ru::inference {

template <class T> inline const std::vector<HeadLayer<T>>& head_layers(const Worker<T>& own, int i, int n) {
    const Model<T>& m = own.model;
    std::vector<HeadLayer<T>>& layers = own.scratch.layers;
    layers.clear();
    T *in = own.head(i), *memory = own.scratch.head.get();
    for (int k = 0, width = m.head;; ++k) {
        T* out = memory;
        memory += kTile * width;
        for (int q = 0; q < n * width; q += lanes<T>) {
            const Vec<T> y = load<T>(in + q);
            store<T>(out + q, m.linear_head ? y : silu<T>(y));
        }
        layers.push_back({in, out, width});
        if (k == int(m.head_dense.size())) return layers;
        in = memory, width = m.head_dense_bias[k].size;
        memory += kTile * width;
        affine<T>(n, out, m.head_dense[k].forward, m.head_dense_bias[k].get(), in);
    }
}

template <class T> inline void add_energies(const Worker<T>& own, const HeadLayer<T>& last, int i, int n) {
    const T* w = own.model.energy_weight.get();
    unsigned q = 0;
    for (int r = 0; r < n; ++r) {
        double e = 0;
        for (int c = 0; c < last.width; ++c, ++q) e += double(w[c]) * double(last.out[q]);
        own.work.energy.get()[i + r] += e + own.model.energy_bias;
    }
}

// Outputs become adjoints of inputs; z becomes z̄.
template <class T>
inline void reverse_head(const Worker<T>& own, const std::vector<HeadLayer<T>>& layers, int i, int n) {
    const Model<T>& m = own.model;
    const HeadLayer<T>& last = layers.back();
    for (int r = 0; r < n; ++r) std::copy_n(m.energy_weight.get(), last.width, last.out + r * last.width);
    for (int k = int(layers.size()) - 1; k >= 0; --k) {
        const auto& [in, bar, width] = layers[k];
        for (int q = 0; q < n * width && !m.linear_head; q += lanes<T>)
            store<T>(bar + q, load<T>(bar + q) * silu_slope<T>(load<T>(in + q)));
        if (k) multiply<T>(n, bar, m.head_dense[k - 1].backward, layers[k - 1].out, false);
    }
    std::copy_n(layers[0].out, n * m.head, own.head(i));
}

template <class T> inline void energies(const Worker<T>& own, int i, int n) {
    const auto& layers = head_layers(own, i, n);
    add_energies(own, layers.back(), i, n);
    if (own.request.backward()) reverse_head(own, layers, i, n);
}

}  // namespace ru::inference
