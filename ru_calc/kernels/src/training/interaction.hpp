// An interaction block of SchNet with the four passes of tape.hpp: x += chain(Σ_j W(r_ij) ⊙ h_j), h = incoming x.
#pragma once
#include "density.hpp"
#include "layers.hpp"

namespace ru::training {

// The pairs of a batch and their harmonics.
template <class T> struct Surroundings {
    int64_t atoms;
    PairList<T> pairs;
    Sphere<T> sphere;
};

template <class T> void add(Rows<T>& to, const Rows<T>& from) {
    for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
}

template <class T> class Interaction {
  public:
    Interaction(int channels, bool norm, double eps) : channels_(channels) {
        const int c = channels;
        incoming_.layers.push_back({Kind::linear, c, c, {}, {}});
        chain_.add(Kind::linear, c, c);
        if (norm) chain_.add(Kind::norm, c, c, eps);
        chain_.add(Kind::silu, c, c), chain_.add(Kind::linear, c, c);
    }

    template <class F> void weights(F& f, int64_t rows) {
        f(table_, rows * channels_), f(incoming_.layers[0].first, int64_t(channels_) * channels_);
        chain_.weights(f);
    }

    void forward(const Surroundings<T>& at, Rows<T>& x) {
        h_ = incoming_.forward(at.atoms, x);
        Rows<T> m = zeros<T>(at.atoms * channels_);
        by(at, 0).add_messages(nullptr, h_.data(), table_.value, m.data());
        add(x, chain_.forward(at.atoms, std::move(m)));
    }

    // along (pairs) += ∂E/∂r
    void reverse(const Surroundings<T>& at, Rows<T>& x_bar, Rows<T>& along) {
        m_bar_ = chain_.reverse(x_bar);
        Rows<T> h_bar = zeros<T>(at.atoms * channels_);
        h_second_.clear();
        by(at, 0).add_messages(nullptr, m_bar_.data(), table_.value, h_bar.data());
        by(at, 1).add_by_pair(m_bar_.data(), h_.data(), table_.value, along.data());
        add(x_bar, incoming_.reverse(std::move(h_bar)));
    }

    // along (pairs): the adjoint of what `reverse` added
    void second(const Surroundings<T>& at, Rows<T>& t, const Rows<T>& along) {
        const Convolution<T> values = by(at, 0), slopes = by(at, 1);
        const T *h = h_.data(), *m_bar = m_bar_.data();
        const Rows<T> by_h_bar = incoming_.second(t);
        Rows<T> by_m_bar = zeros<T>(at.atoms * channels_);
        values.add_messages(nullptr, by_h_bar.data(), table_.value, by_m_bar.data());
        slopes.add_messages(along.data(), h, table_.value, by_m_bar.data());
        h_second_.assign(at.atoms * channels_, T(0));
        slopes.add_messages(along.data(), m_bar, table_.value, h_second_.data());
        values.add_to_table(nullptr, m_bar, by_h_bar.data(), table_.bar);
        slopes.add_to_table(along.data(), m_bar, h, table_.bar);
        add(t, chain_.second(std::move(by_m_bar)));
    }

    void finish(const Surroundings<T>& at, Rows<T>& x_bar) {
        const Rows<T> m_bar = chain_.finish(x_bar);
        Rows<T> h_bar = h_second_.empty() ? zeros<T>(at.atoms * channels_) : std::move(h_second_);
        h_second_.clear();
        by(at, 0).add_messages(nullptr, m_bar.data(), table_.value, h_bar.data());
        by(at, 0).add_to_table(nullptr, m_bar.data(), h_.data(), table_.bar);
        add(x_bar, incoming_.finish(std::move(h_bar)));
    }

  private:
    Convolution<T> by(const Surroundings<T>& at, int order) const { return {at.pairs, order, channels_}; }

    int channels_;
    Weight<T> table_;
    Chain<T> incoming_, chain_;
    Rows<T> h_, m_bar_, h_second_;
};

}  // namespace ru::training
