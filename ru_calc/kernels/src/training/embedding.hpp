// The angular embedding with the four passes of tape.hpp: density, mixings, invariants, dense layers.
#pragma once
#include "interaction.hpp"
#include "invariants.hpp"

namespace ru::training {

template <class T> class Embedding {
  public:
    Embedding(Invariants<T> invariants, int channels) : invariants_(std::move(invariants)) {
        chain_.add(Kind::asinh, invariants_.features(), invariants_.features());
        chain_.add(Kind::linear, invariants_.features(), channels), chain_.add(Kind::silu, channels, channels);
        chain_.add(Kind::linear, channels, channels);
    }

    int harmonics() const { return invariants_.harmonics(); }
    template <class F> void weights(F& f, int64_t rows) {
        f(radial_, rows * invariants_.n), f(mixing_, int64_t(invariants_.n) * invariants_.mixed());
        chain_.weights(f);
    }

    Rows<T> forward(const Surroundings<T>& at) {
        const int64_t rows = at.atoms * harmonics();
        mix_.set(mixing_.value, invariants_.n, invariants_.mixed());
        density_.assign(rows * invariants_.n, T(0)), mixed_.resize(rows * invariants_.mixed());
        add_density<T, false>(at.pairs, at.sphere, nullptr, radial_.value, invariants_.n, density_.data());
        mix_.back(rows, density_.data(), mixed_.data());
        Rows<T> features(at.atoms * invariants_.features());
        each_atom(at.atoms, [&](int64_t a, int64_t m, int64_t f) {
            invariants_.forward(&density_[a], &mixed_[m], &features[f]);
        });
        density_second_.clear();
        return chain_.forward(at.atoms, std::move(features));
    }

    // slopes (pairs, 3) += ∂E/∂r_ij
    void reverse(const Surroundings<T>& at, Rows<T> x_bar, T* slopes) {
        features_bar_ = chain_.reverse(std::move(x_bar));
        density_bar_.resize(density_.size()), mixed_bar_.resize(mixed_.size());
        reverse_invariants(at.atoms, features_bar_, density_bar_, mixed_bar_);
        unmix(at.atoms, mixed_bar_, density_bar_);
        add_slopes<T>(at.pairs, at.sphere, density_bar_.data(), radial_.value, invariants_.n, slopes);
    }

    // u (pairs, 3): the adjoint of what `reverse` added
    Rows<T> second(const Surroundings<T>& at, const T* u) {
        const int64_t rows = at.atoms * harmonics();
        Rows<T> t = zeros<T>(density_.size()), q(mixed_.size()), by_features(features_bar_.size());
        add_density<T, true>(at.pairs, at.sphere, u, radial_.value, invariants_.n, t.data());
        add_to_table<T, true>(at.pairs, at.sphere, u, density_bar_.data(), invariants_.n, radial_.bar);
        mix_.back(rows, t.data(), q.data());
        add_outer<T>(rows, invariants_.n, invariants_.mixed(), t.data(), mixed_bar_.data(), mixing_.bar);
        density_second_.resize(density_.size()), mixed_second_.resize(mixed_.size());
        each_atom(at.atoms, [&](int64_t a, int64_t m, int64_t f) {
            invariants_.second(&density_[a], &mixed_[m], &features_bar_[f], &t[a], &q[m], &by_features[f],
                               &density_second_[a], &mixed_second_[m]);
        });
        return chain_.second(std::move(by_features));
    }

    void finish(const Surroundings<T>& at, Rows<T> x_bar) {
        const int64_t rows = at.atoms * harmonics();
        const Rows<T> features_bar = chain_.finish(std::move(x_bar));
        Rows<T> density_bar(density_.size()), mixed_bar(mixed_.size());
        reverse_invariants(at.atoms, features_bar, density_bar, mixed_bar);
        if (!density_second_.empty()) add(density_bar, density_second_), add(mixed_bar, mixed_second_);
        density_second_.clear();
        add_outer<T>(rows, invariants_.n, invariants_.mixed(), density_.data(), mixed_bar.data(), mixing_.bar);
        unmix(at.atoms, mixed_bar, density_bar);
        add_to_table<T, false>(at.pairs, at.sphere, nullptr, density_bar.data(), invariants_.n, radial_.bar);
    }

  private:
    // Calls f(place of the atom's density, of its mixings, of its features).
    template <class F> void each_atom(int64_t atoms, F f) const {
        const int64_t h = harmonics();
        for (int64_t i = 0; i < atoms; ++i)
            f(i * h * invariants_.n, i * h * invariants_.mixed(), i * invariants_.features());
    }

    void reverse_invariants(int64_t atoms, const Rows<T>& features_bar, Rows<T>& density_bar,
                            Rows<T>& mixed_bar) const {
        each_atom(atoms, [&](int64_t a, int64_t m, int64_t f) {
            invariants_.reverse(&density_[a], &mixed_[m], &features_bar[f], &density_bar[a], &mixed_bar[m]);
        });
    }

    // density_bar += mixed_bar Mᵀ; M is stored (n × mixed), as the other matrices' transposes are.
    void unmix(int64_t atoms, const Rows<T>& mixed_bar, Rows<T>& density_bar) const {
        mix_.template apply<true>(atoms * harmonics(), mixed_bar.data(), density_bar.data());
    }

    Invariants<T> invariants_;
    Weight<T> radial_, mixing_;
    Matrix<T> mix_;
    Chain<T> chain_;
    Rows<T> density_, mixed_, features_bar_, density_bar_, mixed_bar_, density_second_, mixed_second_;
};

}  // namespace ru::training
