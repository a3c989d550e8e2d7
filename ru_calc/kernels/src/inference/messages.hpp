// Messages between atoms, m_i = Σ_j W(r_ij) ⊙ h_j, and their reverse, with the forces that they cause.
#pragma once
#include "convolution.hpp"
#include "pairs.hpp"

namespace ru::inference {

#if RU_VECTOR_BYTES == 64
constexpr int kForward = 8, kReverse = 4;  // vectors of channels at a time
#else
constexpr int kForward = 4, kReverse = 2;
#endif

template <class T> inline void send_messages(const Worker<T>& own, int block) {
    const Model<T>& model = own.model;
    const int source = model.source_of(block);
    const bool alike = block < model.first_gathered();
    T* m = own.hidden(source, 0);
    for (int i = own.begin; i < own.end; ++i) {
        const T* bias = model.sources[source].bias.get();
        if (alike) std::copy(bias, bias + model.channels, own.hidden(source, i));
        else std::fill_n(own.hidden(source, i), model.channels, T(0));
    }
    for (int i = own.begin; i < own.end; ++i)
        own.work.geometry.spans(i, [&](Span span) {
            own.scratch.weights.set(model, own.work.geometry, span, false);
            const Convolution<T> by{model.filters[block], own.work.geometry, own.scratch.weights, span};
            in_chunks<T, kForward>(model.channels, [&](auto ch, int c) {
                if (alike) by.template gather<ch, true>(c, nullptr, m);
                else by.template gather<ch, false>(c, own.incoming(block, 0), m);
            });
        });
}

template <class T> inline void pull(const Worker<T>& own, Span span, int p, T slope) {
    const Geometry<T>& pairs = own.work.geometry;
    const int64_t q = span.begin + p;
    Bond bond{span.atom, pairs.atom.get()[q], pairs.distance(q, own.model.step), {}};
    pairs.direction(q, bond.direction);
    if (p < span.n_both) pull<true>(own, bond, double(slope));
    else pull<false>(own, bond, double(slope));
}

// m̄ stands in `hidden`.
template <class T> inline void reverse_messages(const Worker<T>& own, int block) {
    const Model<T>& model = own.model;
    const T* m_bar = own.hidden(model.source_of(block), 0);
    const bool alike = block < model.first_gathered();
    T *h_bar = alike ? nullptr : own.incoming_bar(block, 0), *slope = own.scratch.slope.get();
    if (!alike) std::fill(own.incoming_bar(block, own.begin), own.incoming_bar(block, own.end), T(0));
    for (int i = own.begin; i < own.end; ++i)
        own.work.geometry.spans(i, [&](Span span) {
            own.scratch.weights.set(model, own.work.geometry, span, true);
            std::fill(slope, slope + span.n * lanes<T>, T(0));
            const Convolution<T> by{model.filters[block], own.work.geometry, own.scratch.weights, span};
            in_chunks<T, kReverse>(model.channels, [&](auto ch, int c) {
                if (alike) by.template scatter_alike<ch>(c, m_bar, slope);
                else by.template scatter<ch>(c, own.incoming(block, 0), m_bar, h_bar, slope);
            });
            for (int p = 0; p < span.n; ++p) pull(own, span, p, sum<T>(load<T>(slope + p * lanes<T>)));
        });
}

}  // namespace ru::inference
