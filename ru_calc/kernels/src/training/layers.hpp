// Dense layers, activations and norms in a row, with the four passes of tape.hpp.
#pragma once
#include "pointwise.hpp"
#include "products.hpp"

namespace ru::training {

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
    Matrix<T> matrix{};
    Rows<T> x{}, kept{}, scale{}, g{}, z_bar{};  // input; of the norm: its rows and factors; adjoint of the output; z̄

    bool linear() const { return kind == Kind::linear; }
    Activation activation() const { return kind == Kind::silu ? Activation::silu : Activation::asinh; }

    // Calls f(weight, size) for each of its weights.
    template <class F> void weights(F& f) {
        if (linear()) f(first, int64_t(out) * in), f(second, out);
        if (kind == Kind::norm) f(first, in), f(second, in);
    }

    Rows<T> forward(int64_t n, Rows<T> input) {
        x = std::move(input);
        Rows<T> y(n * out);
        switch (kind) {
            case Kind::linear: multiply(n, y.data()); break;
            case Kind::norm: normalize(n, y.data()); break;
            default: activate<T>(activation(), n * in, x.data(), y.data());
        }
        return y;
    }

    Rows<T> reverse(int64_t n, Rows<T> output_bar) {
        g = std::move(output_bar), z_bar.clear();
        return adjoint(n, g);
    }

    Rows<T> second_pass(int64_t n, const Rows<T>& t) {
        Rows<T> y(n * out);
        if (linear()) {
            matrix.apply(n, t.data(), y.data());
            add_outer<T>(n, out, in, g.data(), t.data(), first.bar);
            return y;
        }
        z_bar.resize(n * in);
        if (kind == Kind::norm) {
            norm_second<T>(n, in, kept.data(), scale.data(), by_columns(g).data(), t.data(), y.data(), z_bar.data());
            add_products(n, g.data(), y.data(), first.bar);
            return by_columns(y);
        }
        activate_second<T>(activation(), n * in, x.data(), g.data(), t.data(), y.data(), z_bar.data());
        return y;
    }

    Rows<T> finish(int64_t n, const Rows<T>& output_bar) {
        if (kind == Kind::norm) add_products(n, output_bar.data(), kept.data(), first.bar);
        if (linear()) add_outer<T>(n, out, in, output_bar.data(), x.data(), first.bar);
        if (second.bar) add_rows<T>(n, out, output_bar.data(), second.bar);
        Rows<T> x_bar = adjoint(n, output_bar);
        for (size_t i = 0; i < z_bar.size(); ++i) x_bar[i] += z_bar[i];
        z_bar.clear();
        return x_bar;
    }

  private:
    void multiply(int64_t n, T* y) {
        matrix.set(first.value, out, in);
        if (!second.value) return matrix.apply(n, x.data(), y);
        for (int64_t i = 0; i < n; ++i) std::copy_n(second.value, out, y + i * out);
        matrix.template apply<true>(n, x.data(), y);
    }

    void normalize(int64_t n, T* y) {
        kept.resize(n * in), scale.resize(n);
        norm_rows<T>(n, in, eps, x.data(), kept.data(), scale.data());
        for (int64_t i = 0; i < n * in; i += in)
            for (int k = 0; k < in; ++k) y[i + k] = kept[i + k] * first.value[k] + second.value[k];
    }

    Rows<T> adjoint(int64_t n, const Rows<T>& y_bar) const {
        Rows<T> x_bar(n * in);
        switch (kind) {
            case Kind::linear: matrix.back(n, y_bar.data(), x_bar.data()); break;
            case Kind::norm:
                norm_reverse<T>(n, in, kept.data(), scale.data(), by_columns(y_bar).data(), x_bar.data());
                break;
            default: activate_reverse<T>(activation(), n * in, x.data(), y_bar.data(), x_bar.data());
        }
        return x_bar;
    }

    Rows<T> by_columns(const Rows<T>& rows) const {
        Rows<T> made(rows.size());
        for (size_t i = 0; i < rows.size(); i += in)
            for (int k = 0; k < in; ++k) made[i + k] = rows[i + k] * first.value[k];
        return made;
    }

    void add_products(int64_t n, const T* a, const T* b, T* sums) const {
        for (int64_t i = 0; i < n; ++i, a += in, b += in)
            for (int k = 0; k < in; ++k) sums[k] += a[k] * b[k];
    }
};

template <class T> struct Chain {
    std::vector<Layer<T>> layers;
    int64_t n = 0;  // atoms

    void add(Kind kind, int in, int out, double eps = 0) { layers.push_back({kind, in, out, {}, {}, eps}); }
    template <class F> void weights(F& f) {
        for (auto& layer : layers) layer.weights(f);
    }

    Rows<T> forward(int64_t atoms, Rows<T> x) {
        n = atoms;
        for (auto& layer : layers) x = layer.forward(n, std::move(x));
        return x;
    }
    Rows<T> reverse(Rows<T> g) {
        for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) g = layer->reverse(n, std::move(g));
        return g;
    }
    // t the adjoint of what `reverse` gave; returns that of what it took.
    Rows<T> second(Rows<T> t) {
        for (auto& layer : layers) t = layer.second_pass(n, t);
        return t;
    }
    // g the adjoint of the output; returns that of the input.
    Rows<T> finish(Rows<T> g) {
        for (auto layer = layers.rbegin(); layer != layers.rend(); ++layer) g = layer->finish(n, g);
        return g;
    }
};

}  // namespace ru::training
