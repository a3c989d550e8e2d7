// The dense layers between messages: s = silu(norm(in · m + bias)), and where s goes; tile by tile, in cache.
#pragma once
#include "../common/activations.hpp"
#include "worker.hpp"

namespace ru::inference {

template <class T> inline T inverse_norm(const Model<T>& m, const T* a) {
    Vec<T> total{};
    for (int c = 0; c < m.channels; c += lanes<T>) total += load<T>(a + c) * load<T>(a + c);
    return T(1) / std::sqrt(sum<T>(total) / T(m.width) + m.norm_eps);
}

// s = silu(norm(a)) of one atom.
template <class T> inline void activate(const Model<T>& m, const Source<T>& source, const T* a, T* s) {
    const T inverse = source.norm ? inverse_norm(m, a) : T(1);
    for (int c = 0; c < m.channels; c += lanes<T>) {
        Vec<T> y = load<T>(a + c);
        if (source.norm) y = y * inverse * load<T>(source.scale.get() + c) + load<T>(source.offset.get() + c);
        store<T>(s + c, silu<T>(y));
    }
}

// s̄ becomes ā.
template <class T> inline void activate_reverse(const Model<T>& m, const Source<T>& source, const T* a, T* bar) {
    constexpr int L = lanes<T>;
    if (!source.norm) {
        for (int c = 0; c < m.channels; c += L) store<T>(bar + c, load<T>(bar + c) * silu_slope<T>(load<T>(a + c)));
        return;
    }
    const T inverse = inverse_norm(m, a);
    Vec<T> total{};
    for (int c = 0; c < m.channels; c += L) {
        const Vec<T> x = load<T>(a + c) * inverse, scale = load<T>(source.scale.get() + c);
        const Vec<T> g = load<T>(bar + c) * silu_slope<T>(x * scale + load<T>(source.offset.get() + c)) * scale;
        total += g * x;
        store<T>(bar + c, g);
    }
    const T mean = sum<T>(total) / T(m.width);
    for (int c = 0; c < m.channels; c += L)
        store<T>(bar + c, inverse * (load<T>(bar + c) - load<T>(a + c) * inverse * mean));
}

// From what enters the activation of source k to later blocks and the energy pathway.
template <class T> inline void pass_on(const Worker<T>& own, int k, int i, int n) {
    const Model<T>& m = own.model;
    const Source<T>& source = m.sources[k];
    T* s = own.scratch.tile.get();
    for (int r = 0; r < n; ++r) activate(m, source, own.hidden(k, i + r), s + r * m.channels);
    for (int b = m.first_gathered(); b < m.blocks; ++b)
        if (!source.to_block[b].empty()) multiply<T>(n, s, source.to_block[b].forward, own.incoming(b, i), true);
    multiply<T>(n, s, source.to_head.forward, own.head(i), true);
    if (own.request.mahalanobis && !source.to_whitened.empty())
        multiply<T>(n, s, source.to_whitened.forward, own.whitened(i), true);
}

// ā of source k, in the tile.
template <class T> inline T* collect(const Worker<T>& own, int k, int i, int n) {
    const Model<T>& m = own.model;
    const Source<T>& source = m.sources[k];
    T* bar = own.scratch.tile.get();
    multiply<T>(n, own.head(i), source.to_head.backward, bar, false);
    for (int b = m.first_gathered(); b < m.blocks; ++b)
        if (!source.to_block[b].empty()) multiply<T>(n, own.incoming_bar(b, i), source.to_block[b].backward, bar, true);
    for (int r = 0; r < n; ++r) activate_reverse(m, source, own.hidden(k, i + r), bar + r * m.channels);
    return bar;
}

// The dense layers of a block; messages stand in `hidden`.
template <class T> inline void interact(const Worker<T>& own, int block, int i, int n) {
    const int k = own.model.source_of(block);
    const Source<T>& source = own.model.sources[k];
    if (!source.in.empty()) {
        T* tile = own.scratch.tile.get();
        affine<T>(n, own.hidden(k, i), source.in.forward, source.bias.get(), tile);
        std::copy(tile, tile + n * own.model.channels, own.hidden(k, i));
    }
    pass_on(own, k, i, n);
}

// Puts m̄ in `hidden`.
template <class T> inline void reverse_interact(const Worker<T>& own, int block, int i, int n) {
    const int k = own.model.source_of(block);
    const Source<T>& source = own.model.sources[k];
    const T* bar = collect(own, k, i, n);
    if (source.in.empty()) std::copy(bar, bar + n * own.model.channels, own.hidden(k, i));
    else multiply<T>(n, bar, source.in.backward, own.hidden(k, i), false);
}

}  // namespace ru::inference
