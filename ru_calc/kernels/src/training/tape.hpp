// One training step of a SchNet: energies, their slopes by the pairs, and the gradient by all weights of anything that
// is made of both.
//
//   forward   energies of the atoms
//   reverse   the slopes ∂(Σ w E)/∂r_ij, and the adjoints g of all that lies between
//   second    with u the adjoint of the slopes: tangents t run through the reverse pass from its end to its start,
//   which
//             gives one part of every weight's gradient, and what the slopes owe to the values of the forward pass (z̄)
//   finish    with the adjoint of the energies: backwards through the forward pass, collecting z̄ on the way
//
// So each matrix is used six times.  The same network in torch is potentials/schnet.py.
#pragma once
#include <optional>
#include <stdexcept>

#include "embedding.hpp"

namespace ru::training {

struct Shape {
    int channels, blocks, rows;
    bool angular, norm;
    double eps;
    std::vector<int64_t> readout;
};

enum class Pass { forward, reverse, second, finish };

template <class T> class Tape {
  public:
    Tape(const Shape& shape, Invariants<T> invariants) : shape_(shape) {
        if (shape.angular) embedding_.emplace(std::move(invariants), shape.channels);
        for (int b = 0; b < shape.blocks; ++b) blocks_.emplace_back(shape.channels, shape.norm, shape.eps);
        int width = shape.channels;
        for (int64_t next : shape.readout) {
            readout_.add(Kind::linear, width, int(next)), readout_.add(Kind::silu, int(next), int(next));
            width = int(next);
        }
        readout_.add(Kind::linear, width, 1);
    }

    int rows() const { return shape_.rows; }
    int harmonics() const { return embedding_ ? embedding_->harmonics() : 1; }

    // The passes follow one another, for the same batch.
    void check(const Surroundings<T>& at, Pass pass) {
        constexpr int before[] = {0, 1, 2, 1};
        const bool first = pass == Pass::forward;
        if (done_ < before[int(pass)] || (!first && (atoms_ != at.atoms || pairs_ != at.pairs.n)))
            throw std::runtime_error("the passes of a tape are out of order");
        if (first) done_ = 0, atoms_ = at.atoms, pairs_ = at.pairs.n;
    }
    void passed(Pass pass) { done_ = pass == Pass::forward ? 1 : pass == Pass::reverse ? 2 : done_; }

    // Calls f(weight, size) in the order in which Python gives them.
    template <class F> void weights(F f) {
        if (embedding_) embedding_->weights(f, shape_.rows);
        else f(start_, shape_.channels);
        for (auto& block : blocks_) block.weights(f, shape_.rows);
        readout_.weights(f);
    }

    void forward(const Surroundings<T>& at, T* energies) {
        Rows<T> x = embedding_ ? embedding_->forward(at) : alike(at.atoms);
        for (auto& block : blocks_) block.forward(at, x);
        const Rows<T> e = readout_.forward(at.atoms, std::move(x));
        std::copy(e.begin(), e.end(), energies);
    }

    // slopes (pairs, 3) += ∂(Σ bar E)/∂r_ij
    void reverse(const Surroundings<T>& at, const T* bar, T* slopes) {
        Rows<T> x_bar = readout_.reverse(Rows<T>(bar, bar + at.atoms)), along = zeros<T>(at.pairs.n);
        for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) block->reverse(at, x_bar, along);
        for (int64_t p = 0; p < at.pairs.n; ++p)
            for (int a = 0; a < 3; ++a) slopes[3 * p + a] += along[p] * at.sphere.units[3 * p + a];
        if (embedding_) embedding_->reverse(at, std::move(x_bar), slopes);
    }

    // u (pairs, 3) the adjoint of the slopes; bar (atoms) becomes that of what `reverse` took.
    void second(const Surroundings<T>& at, const T* u, T* bar) {
        Rows<T> along = zeros<T>(at.pairs.n);
        Rows<T> t = embedding_ ? embedding_->second(at, u) : zeros<T>(at.atoms * shape_.channels);
        for (int64_t p = 0; p < at.pairs.n; ++p)
            for (int a = 0; a < 3; ++a) along[p] += u[3 * p + a] * at.sphere.units[3 * p + a];
        for (auto& block : blocks_) block.second(at, t, along);
        const Rows<T> out = readout_.second(std::move(t));
        std::copy(out.begin(), out.end(), bar);
    }

    // bar (atoms) the adjoint of the energies.
    void finish(const Surroundings<T>& at, const T* bar) {
        Rows<T> x_bar = readout_.finish(Rows<T>(bar, bar + at.atoms));
        for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) block->finish(at, x_bar);
        if (embedding_) embedding_->finish(at, std::move(x_bar));
        else add_rows<T>(at.atoms, shape_.channels, x_bar.data(), start_.bar);
    }

  private:
    // Without angles all atoms start alike.
    Rows<T> alike(int64_t atoms) const {
        Rows<T> x(atoms * shape_.channels);
        for (int64_t i = 0; i < atoms; ++i) std::copy_n(start_.value, shape_.channels, &x[i * shape_.channels]);
        return x;
    }

    Shape shape_;
    int done_ = 0;
    int64_t atoms_ = 0, pairs_ = 0;
    Weight<T> start_;
    std::optional<Embedding<T>> embedding_;
    std::vector<Interaction<T>> blocks_;
    Chain<T> readout_;
};

}  // namespace ru::training
