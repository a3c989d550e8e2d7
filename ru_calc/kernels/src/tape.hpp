// One training step of a SchNet: energies, their slopes by the pairs, and the gradient by all weights of anything that
// is made of both.
//
//   forward   energies of the atoms
//   reverse   the slopes ∂(Σ w E)/∂r_ij, and the adjoints g of all that lies between
//   second    with u the adjoint of the slopes: tangents t run through the reverse pass from its end to its start, which
//             gives one part of every weight's gradient, and what the slopes owe to the values of the forward pass (z̄)
//   finish    with the adjoint of the energies: backwards through the forward pass, collecting z̄ on the way
//
// So each matrix is used six times.  The same network in torch is potentials/schnet.py.
#pragma once
#include <string>

#include "pointwise.hpp"
#include "products.hpp"

namespace ru {

template <class T> struct Weight {
    const T* value = nullptr;
    T* bar = nullptr;  // gradient, added to
};

enum class Kind { linear, silu, asinh, norm };

template <class T> struct Layer {
    Kind kind;
    int in, out;
    Weight<T> first, second;  // matrix and bias; scale and offset
    double eps = 0;
    Matrix<T> matrix;
    Rows<T> x, kept, scale, g, z_bar;  // input; of the norm: its rows and factors; adjoint of the output; z̄

    bool linear() const { return kind == Kind::linear; }
    Activation activation() const { return kind == Kind::silu ? Activation::silu : Activation::asinh; }
};

// Layers in a row; see the top for the four passes.
template <class T> struct Chain {
    std::vector<Layer<T>> layers;
    int64_t n = 0;

    void add(Kind kind, int in, int out, double eps = 0) { layers.push_back({kind, in, out, {}, {}, eps}); }

    Rows<T> forward(int64_t atoms, Rows<T> x) {
        n = atoms;
        for (auto& layer : layers) {
            layer.x = std::move(x);
            x = Rows<T>(n * layer.out);
            switch (layer.kind) {
                case Kind::linear:
                    layer.matrix.set(layer.first.value, layer.out, layer.in);
                    if (layer.second.value) {
                        for (int64_t i = 0; i < n; ++i)
                            std::copy(layer.second.value, layer.second.value + layer.out, x.data() + i * layer.out);
                        layer.matrix.template apply<true>(n, layer.x.data(), x.data());
                    } else layer.matrix.apply(n, layer.x.data(), x.data());
                    break;
                case Kind::norm:
                    layer.kept.resize(n * layer.in), layer.scale.resize(n);
                    norm_rows<T>(n, layer.in, layer.eps, layer.x.data(), layer.kept.data(), layer.scale.data());
                    for (int64_t i = 0; i < n; ++i)
                        for (int k = 0; k < layer.in; ++k)
                            x[i * layer.in + k] = layer.kept[i * layer.in + k] * layer.first.value[k] + layer.second.value[k];
                    break;
                default: activate<T>(layer.activation(), n * layer.in, layer.x.data(), x.data());
            }
        }
        return x;
    }

    Rows<T> reverse(Rows<T> g) {
        for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
            Rows<T> x = adjoint(*layer, g);
            layer->g = std::move(g), layer->z_bar.clear(), g = std::move(x);
        }
        return g;
    }

    // t the adjoint of what `reverse` gave; returns that of what it took.
    Rows<T> second(Rows<T> t) {
        for (auto& layer : layers) {
            Rows<T> out(n * layer.out);
            switch (layer.kind) {
                case Kind::linear:
                    layer.matrix.apply(n, t.data(), out.data());
                    add_outer<T>(n, layer.out, layer.in, layer.g.data(), t.data(), layer.first.bar);
                    break;
                case Kind::norm: {
                    layer.z_bar.resize(n * layer.in);
                    const Rows<T> scaled = by_columns(layer.g, layer);
                    norm_second<T>(n, layer.in, layer.kept.data(), layer.scale.data(), scaled.data(), t.data(), out.data(),
                                   layer.z_bar.data());
                    add_products(n, layer.in, layer.g.data(), out.data(), layer.first.bar);
                    out = by_columns(out, layer);
                    break;
                }
                default:
                    layer.z_bar.resize(n * layer.in);
                    activate_second<T>(layer.activation(), n * layer.in, layer.x.data(), layer.g.data(), t.data(), out.data(),
                                       layer.z_bar.data());
            }
            t = std::move(out);
        }
        return t;
    }

    // g the adjoint of the output; returns that of the input.
    Rows<T> finish(Rows<T> g) {
        for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) {
            if (layer->kind == Kind::norm)
                add_products(n, layer->in, g.data(), layer->kept.data(), layer->first.bar);
            if (layer->linear()) add_outer<T>(n, layer->out, layer->in, g.data(), layer->x.data(), layer->first.bar);
            if (layer->second.bar) add_rows<T>(n, layer->out, g.data(), layer->second.bar);
            g = adjoint(*layer, g);
            for (size_t i = 0; i < layer->z_bar.size(); ++i) g[i] += layer->z_bar[i];
            layer->z_bar.clear();
        }
        return g;
    }

  private:
    static void add_products(int64_t n, int width, const T* a, const T* b, T* sums) {
        for (int64_t i = 0; i < n; ++i, a += width, b += width)
            for (int k = 0; k < width; ++k) sums[k] += a[k] * b[k];
    }

    Rows<T> by_columns(const Rows<T>& rows, const Layer<T>& layer) const {
        Rows<T> made(rows.size());
        for (size_t i = 0; i < rows.size(); i += layer.in)
            for (int k = 0; k < layer.in; ++k) made[i + k] = rows[i + k] * layer.first.value[k];
        return made;
    }

    Rows<T> adjoint(Layer<T>& layer, const Rows<T>& g) const {
        Rows<T> x(n * layer.in);
        switch (layer.kind) {
            case Kind::linear: layer.matrix.back(n, g.data(), x.data()); break;
            case Kind::norm:
                norm_reverse<T>(n, layer.in, layer.kept.data(), layer.scale.data(), by_columns(g, layer).data(), x.data());
                break;
            default: activate_reverse<T>(layer.activation(), n * layer.in, layer.x.data(), g.data(), x.data());
        }
        return x;
    }
};

struct Shape {
    int channels, blocks, radial, rows;
    bool angular, norm;
    double eps;
    std::vector<int64_t> readout;
};

// The pairs of a batch and, for the angular embedding, their harmonics.
template <class T> struct Surroundings {
    int64_t atoms;
    PairList<T> pairs;
    Sphere<T> sphere;
    const T* units;
};

template <class T> struct Block {
    Weight<T> table;
    Chain<T> incoming, chain;
    Rows<T> h, m_bar, h_bar, h_second;
};

template <class T> class Tape {
  public:
    Tape(const Shape& shape, Invariants<T> invariants) : shape_(shape), invariants_(std::move(invariants)) {
        const int c = shape.channels;
        if (shape.angular) {
            embedding_.add(Kind::asinh, invariants_.features(), invariants_.features());
            embedding_.add(Kind::linear, invariants_.features(), c), embedding_.add(Kind::silu, c, c);
            embedding_.add(Kind::linear, c, c);
            mixing_.layers.push_back({Kind::linear, invariants_.n, invariants_.mixed(), {}, {}});
        }
        blocks_.resize(shape.blocks);
        for (auto& block : blocks_) {
            block.incoming.add(Kind::linear, c, c), block.chain.add(Kind::linear, c, c);
            if (shape.norm) block.chain.add(Kind::norm, c, c, shape.eps);
            block.chain.add(Kind::silu, c, c), block.chain.add(Kind::linear, c, c);
        }
        int width = c;
        for (int64_t next : shape.readout) {
            readout_.add(Kind::linear, width, int(next)), readout_.add(Kind::silu, int(next), int(next));
            width = int(next);
        }
        readout_.add(Kind::linear, width, 1);
    }

    int rows() const { return shape_.rows; }
    int harmonics() const { return shape_.angular ? invariants_.harmonics() : 1; }

    // The passes follow one another, for the same batch.
    void check(const Surroundings<T>& at, int pass) {
        constexpr int before[] = {0, 1, 2, 1};
        if (done_ < before[pass] || (pass && (atoms_ != at.atoms || pairs_ != at.pairs.n)))
            throw std::runtime_error("the passes of a tape are out of order");
        if (pass == 0) done_ = 0, atoms_ = at.atoms, pairs_ = at.pairs.n;
    }
    void passed(int pass) { done_ = pass == 0 ? 1 : pass == 1 ? 2 : done_; }

    // Calls f(weight, size) in the order in which Python gives them.
    template <class F> void weights(F f) {
        const int c = shape_.channels;
        if (shape_.angular) {
            f(radial_, int64_t(shape_.rows) * shape_.radial), f(mixing_.layers[0].first, int64_t(invariants_.n) * invariants_.mixed());
            chain_weights(embedding_, f);
        } else f(start_, c);
        for (auto& block : blocks_) {
            f(block.table, int64_t(shape_.rows) * c), f(block.incoming.layers[0].first, int64_t(c) * c);
            chain_weights(block.chain, f);
        }
        chain_weights(readout_, f);
    }

    void forward(const Surroundings<T>& at, T* energies) {
        const int c = shape_.channels;
        Rows<T> x = shape_.angular ? embed(at) : Rows<T>(at.atoms * c);
        if (!shape_.angular)
            for (int64_t i = 0; i < at.atoms; ++i) std::copy(start_.value, start_.value + c, x.data() + i * c);
        for (auto& block : blocks_) {
            block.h = block.incoming.forward(at.atoms, x);
            Rows<T> m = zeros<T>(at.atoms * c);
            node_sums<T>(at.pairs, 0, nullptr, block.h.data(), block.table.value, c, m.data());
            add(x, block.chain.forward(at.atoms, std::move(m)));
        }
        const Rows<T> e = readout_.forward(at.atoms, std::move(x));
        std::copy(e.begin(), e.end(), energies);
    }

    // slopes (pairs, 3) += ∂(Σ bar E)/∂r_ij
    void reverse(const Surroundings<T>& at, const T* bar, T* slopes) {
        const int c = shape_.channels;
        Rows<T> x = readout_.reverse(Rows<T>(bar, bar + at.atoms)), along = zeros<T>(at.pairs.n);
        for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
            block->m_bar = block->chain.reverse(x);
            block->h_bar.assign(at.atoms * c, T(0)), block->h_second.clear();
            node_sums<T>(at.pairs, 0, nullptr, block->m_bar.data(), block->table.value, c, block->h_bar.data());
            edge_sums<T>(at.pairs, 1, block->m_bar.data(), block->h.data(), block->table.value, c, along.data());
            add(x, block->incoming.reverse(block->h_bar));
        }
        for (int64_t p = 0; p < at.pairs.n; ++p)
            for (int a = 0; a < 3; ++a) slopes[3 * p + a] += along[p] * at.units[3 * p + a];
        if (!shape_.angular) return;
        features_bar_ = embedding_.reverse(std::move(x));
        density_bar_.resize(density_.size()), mixed_bar_.resize(mixed_.size());
        each_atom(at.atoms, [&](int64_t w, int64_t m, int64_t k) {
            invariants_.reverse(&density_[w], &mixed_[m], &features_bar_[k], &density_bar_[w], &mixed_bar_[m]);
        });
        unmix(at.atoms, mixed_bar_, density_bar_);
        density_slopes<T>(at.pairs, at.sphere, density_bar_.data(), radial_.value, shape_.radial, slopes);
    }

    // u (pairs, 3) the adjoint of the slopes; bar (atoms) becomes that of what `reverse` took.
    void second(const Surroundings<T>& at, const T* u, T* bar) {
        const int c = shape_.channels;
        Rows<T> t = shape_.angular ? embed_second(at, u) : zeros<T>(at.atoms * c), along = zeros<T>(at.pairs.n);
        for (int64_t p = 0; p < at.pairs.n; ++p)
            for (int a = 0; a < 3; ++a) along[p] += u[3 * p + a] * at.units[3 * p + a];
        for (auto& block : blocks_) {
            const Rows<T> by_h_bar = block.incoming.second(t);
            Rows<T> by_m_bar = zeros<T>(at.atoms * c);
            const T *h = block.h.data(), *m_bar = block.m_bar.data(), *table = block.table.value;
            node_sums<T>(at.pairs, 0, nullptr, by_h_bar.data(), table, c, by_m_bar.data());
            node_sums<T>(at.pairs, 1, along.data(), h, table, c, by_m_bar.data());
            block.h_second.assign(at.atoms * c, T(0));
            node_sums<T>(at.pairs, 1, along.data(), m_bar, table, c, block.h_second.data());
            table_sums<T>(at.pairs, 0, nullptr, m_bar, by_h_bar.data(), c, block.table.bar);
            table_sums<T>(at.pairs, 1, along.data(), m_bar, h, c, block.table.bar);
            add(t, block.chain.second(std::move(by_m_bar)));
        }
        const Rows<T> out = readout_.second(std::move(t));
        std::copy(out.begin(), out.end(), bar);
    }

    // bar (atoms) the adjoint of the energies.
    void finish(const Surroundings<T>& at, const T* bar) {
        const int c = shape_.channels;
        Rows<T> x = readout_.finish(Rows<T>(bar, bar + at.atoms));
        for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
            const Rows<T> m_bar = block->chain.finish(x);
            Rows<T> h_bar = block->h_second.empty() ? zeros<T>(at.atoms * c) : std::move(block->h_second);
            block->h_second.clear();
            node_sums<T>(at.pairs, 0, nullptr, m_bar.data(), block->table.value, c, h_bar.data());
            table_sums<T>(at.pairs, 0, nullptr, m_bar.data(), block->h.data(), c, block->table.bar);
            add(x, block->incoming.finish(std::move(h_bar)));
        }
        if (shape_.angular) embed_finish(at, std::move(x));
        else add_rows<T>(at.atoms, c, x.data(), start_.bar);
    }

  private:
    template <class F> void chain_weights(Chain<T>& chain, F& f) {
        for (auto& layer : chain.layers) {
            if (layer.linear()) f(layer.first, int64_t(layer.out) * layer.in), f(layer.second, layer.out);
            if (layer.kind == Kind::norm) f(layer.first, layer.in), f(layer.second, layer.in);
        }
    }

    static void add(Rows<T>& to, const Rows<T>& from) {
        for (size_t i = 0; i < to.size(); ++i) to[i] += from[i];
    }

    // Calls f(place of the atom's density, of its mixings, of its features).
    template <class F> void each_atom(int64_t atoms, F f) const {
        const int64_t h = invariants_.harmonics();
        for (int64_t i = 0; i < atoms; ++i) f(i * h * invariants_.n, i * h * invariants_.mixed(), i * invariants_.features());
    }

    // density_bar += mixed_bar Mᵀ; M is stored (n × mixed), as the other matrices' transposes are.
    void unmix(int64_t atoms, const Rows<T>& mixed_bar, Rows<T>& density_bar) {
        const int64_t rows = atoms * invariants_.harmonics();
        mixing_.layers[0].matrix.template apply<true>(rows, mixed_bar.data(), density_bar.data());
    }

    Rows<T> embed(const Surroundings<T>& at) {
        const int64_t rows = at.atoms * invariants_.harmonics();
        auto& mixing = mixing_.layers[0];
        mixing.matrix.set(mixing.first.value, invariants_.n, invariants_.mixed());
        density_.assign(rows * invariants_.n, T(0)), mixed_.resize(rows * invariants_.mixed());
        density_sums<T, false>(at.pairs, at.sphere, nullptr, radial_.value, shape_.radial, density_.data());
        mixing.matrix.back(rows, density_.data(), mixed_.data());
        Rows<T> features(at.atoms * invariants_.features());
        each_atom(at.atoms, [&](int64_t w, int64_t m, int64_t k) { invariants_.forward(&density_[w], &mixed_[m], &features[k]); });
        density_second_.clear();
        return embedding_.forward(at.atoms, std::move(features));
    }

    Rows<T> embed_second(const Surroundings<T>& at, const T* u) {
        const int64_t rows = at.atoms * invariants_.harmonics();
        auto& mixing = mixing_.layers[0];
        Rows<T> t = zeros<T>(density_.size()), q(mixed_.size()), by_features(features_bar_.size());
        density_sums<T, true>(at.pairs, at.sphere, u, radial_.value, shape_.radial, t.data());
        density_table<T, true>(at.pairs, at.sphere, u, density_bar_.data(), shape_.radial, radial_.bar);
        mixing.matrix.back(rows, t.data(), q.data());
        add_outer<T>(rows, invariants_.n, invariants_.mixed(), t.data(), mixed_bar_.data(), mixing.first.bar);
        density_second_.resize(density_.size()), mixed_second_.resize(mixed_.size());
        each_atom(at.atoms, [&](int64_t w, int64_t m, int64_t k) {
            invariants_.second(&density_[w], &mixed_[m], &features_bar_[k], &t[w], &q[m], &by_features[k],
                               &density_second_[w], &mixed_second_[m]);
        });
        return embedding_.second(std::move(by_features));
    }

    void embed_finish(const Surroundings<T>& at, Rows<T> x) {
        const int64_t rows = at.atoms * invariants_.harmonics();
        const Rows<T> features_bar = embedding_.finish(std::move(x));
        Rows<T> density_bar(density_.size()), mixed_bar(mixed_.size());
        each_atom(at.atoms, [&](int64_t w, int64_t m, int64_t k) {
            invariants_.reverse(&density_[w], &mixed_[m], &features_bar[k], &density_bar[w], &mixed_bar[m]);
        });
        if (!density_second_.empty()) add(density_bar, density_second_), add(mixed_bar, mixed_second_);
        density_second_.clear();
        add_outer<T>(rows, invariants_.n, invariants_.mixed(), density_.data(), mixed_bar.data(), mixing_.layers[0].first.bar);
        unmix(at.atoms, mixed_bar, density_bar);
        density_table<T, false>(at.pairs, at.sphere, nullptr, density_bar.data(), shape_.radial, radial_.bar);
    }

    Shape shape_;
    Invariants<T> invariants_;
    int done_ = 0;
    int64_t atoms_ = 0, pairs_ = 0;
    Weight<T> radial_, start_;
    Chain<T> mixing_, embedding_, readout_;
    std::vector<Block<T>> blocks_;
    Rows<T> density_, mixed_, features_bar_, density_bar_, mixed_bar_, density_second_, mixed_second_;
};

}  // namespace ru
