// A trained network as the kernels want it: tables, packed matrices, padded widths.
#pragma once
#include <functional>
#include <map>
#include <algorithm>
#include <string>
#include <vector>

#include "gemm.hpp"

namespace ru {

// Where a model comes from: arrays of doubles and numbers by name (see `Packing` in engine/packing.py).
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

// Source k: s_k = silu(norm(in · x + bias)), which feeds h_b = start_b + Σ_k to_block[b] s_k and z = Σ_k to_head s_k.
template <class T> struct Source {
    Dense<T> in, to_head;
    Vector<T> bias, scale, offset;
    bool norm = false;
    std::vector<Dense<T>> to_block;
};

// S_q = Σ_bc G B_b B_c for one component a of a coupling: a range of terms.  Products B_b B_c serve several sums.
struct TripleGroup {
    int coupling, a, begin, end;
};
struct TripleProduct {
    int b, c, begin, end;  // and the range of terms of its reverse
};
template <class T> struct TripleTerm {
    int index;  // of a product in a group, or of a group in the reverse of a product
    T weight;
};
// Y_out += weight · direction[axis] · Y_in, climbing one degree.
template <class T> struct RaisingTerm {
    int out, axis, in;
    T weight;
};

template <class T> struct Angular {
    int radial = 0, l_max = 0, harmonics = 0, triple = 0, couplings = 0, features = 0, mixed = 0;
    Table<T> table;
    Dense<T> mix;  // rows: M A, then the two factors of the third order
    std::vector<T> by_degree;
    std::vector<int> degree;
    std::vector<TripleGroup> groups;
    std::vector<TripleProduct> products;
    std::vector<TripleTerm<T>> terms, reverse_terms;
    std::vector<RaisingTerm<T>> raising;

    void fill(const Spec& spec, int intervals) {
        radial = int(spec.number("angular_radial"));
        l_max = int(spec.number("l_max"));
        triple = int(spec.number("triple"));
        couplings = int(spec.number("couplings"));
        harmonics = (l_max + 1) * (l_max + 1);
        mixed = radial + 2 * triple;
        features = radial * (2 * l_max + 3) + triple * couplings;
        table.fill(spec.array("angular_table"), intervals);
        mix.fill(spec.array("mix"), mixed);
        for (int l = 0; l <= l_max; ++l)
            for (int m = -l; m <= l; ++m) degree.push_back(l), by_degree.push_back(T(1.0 / (2 * l + 1)));
        fill_triples(spec.array("triple_terms"));
        const auto up = spec.array("raising_terms");  // out, axis, in, weight; sorted by degree
        for (size_t i = 0; i + 3 < up.size(); i += 4)
            raising.push_back({int(up[i]), int(up[i + 1]), int(up[i + 2]), T(up[i + 3])});
    }

    // Rows: coupling, a, b, c, weight.  Sums of equal length stand together, so that branches are foreseen.
    void fill_triples(const std::vector<double>& rows) {
        using Key = std::pair<int, int>;
        std::map<Key, std::vector<std::pair<Key, T>>> by_group, by_product;
        for (size_t i = 0; i + 4 < rows.size(); i += 5) {
            const Key group{int(rows[i]), int(rows[i + 1])}, product{int(rows[i + 2]), int(rows[i + 3])};
            by_group[group].push_back({product, T(rows[i + 4])});
            by_product[product].push_back({group, T(rows[i + 4])});
        }
        const auto group_order = by_length(by_group), product_order = by_length(by_product);
        for (const Key& key : group_order) {
            const int at = append(terms, by_group[key], product_order);
            groups.push_back({key.first, key.second, at, int(terms.size())});
        }
        for (const Key& key : product_order) {
            const int at = append(reverse_terms, by_product[key], group_order);
            products.push_back({key.first, key.second, at, int(reverse_terms.size())});
        }
    }

  private:
    template <class Map> static std::vector<std::pair<int, int>> by_length(const Map& map) {
        std::vector<std::pair<int, int>> keys;
        for (const auto& item : map) keys.push_back(item.first);
        std::stable_sort(keys.begin(), keys.end(),
                         [&](const auto& a, const auto& b) { return map.at(a).size() < map.at(b).size(); });
        return keys;
    }

    static int append(std::vector<TripleTerm<T>>& to, const std::vector<std::pair<std::pair<int, int>, T>>& from,
                      const std::vector<std::pair<int, int>>& order) {
        const int at = int(to.size());
        for (const auto& [key, weight] : from)
            to.push_back({int(std::find(order.begin(), order.end(), key) - order.begin()), weight});
        return at;
    }
};

template <class T> struct Model {
    int channels, width, blocks, head, intervals;
    bool angular;
    double cutoff, fade, step, core_inner, core_outer, core_length, core_strength, zero = 0;
    T norm_eps;
    std::vector<double> core_terms;  // strength and decay of each exponential of the screening
    std::vector<Table<T>> filters;
    std::vector<Source<T>> sources;
    std::vector<Vector<T>> start;  // h_b before its sources
    Vector<T> head_bias, energy_weight;
    std::vector<Dense<T>> head_dense;  // hidden layers of the energy pathway after the first
    std::vector<Vector<T>> head_dense_bias;
    double energy_bias;
    bool linear_head;
    Angular<T> embedding;

    explicit Model(const Spec& spec) {
        channels = int(spec.number("channels")), width = int(spec.number("width"));
        blocks = int(spec.number("blocks")), head = int(spec.number("head"));
        intervals = int(spec.number("intervals")), angular = spec.number("angular") != 0;
        cutoff = spec.number("cutoff"), fade = spec.number("fade"), step = cutoff / intervals;
        core_inner = spec.number("core_inner"), core_outer = spec.number("core_outer");
        core_terms = spec.array("core_terms");
        core_length = spec.number("core_length"), core_strength = spec.number("core_strength");
        norm_eps = T(spec.number("norm_eps"));
        filters.resize(blocks), start.resize(blocks);
        for (int b = 0; b < blocks; ++b) {
            filters[b].fill(spec.array("filter_" + std::to_string(b)), intervals);
            start[b].fill(spec.array("start_" + std::to_string(b)));
        }
        sources.resize(blocks + angular);
        for (int k = 0; k < int(sources.size()); ++k) {
            const std::string name = "source_" + std::to_string(k) + "_";
            Source<T>& s = sources[k];
            s.in.fill(spec.array(name + "in"), channels);
            s.bias.fill(spec.array(name + "bias"));
            s.scale.fill(spec.array(name + "scale"));
            s.offset.fill(spec.array(name + "offset"));
            s.norm = s.scale.size > 0;
            s.to_head.fill(spec.array(name + "to_head"), head);
            s.to_block.resize(blocks);
            for (int b = 0; b < blocks; ++b) s.to_block[b].fill(spec.array(name + "to_" + std::to_string(b)), channels);
        }
        head_bias.fill(spec.array("head_bias")), energy_weight.fill(spec.array("energy_weight"));
        linear_head = spec.number("linear_head") != 0, energy_bias = spec.number("energy_bias");
        const int more = int(spec.number("head_layers"));
        head_dense.resize(more), head_dense_bias.resize(more);
        for (int k = 0; k < more; ++k) {
            head_dense_bias[k].fill(spec.array("head_bias_" + std::to_string(k)));
            head_dense[k].fill(spec.array("head_dense_" + std::to_string(k)), head_dense_bias[k].size);
        }
        if (angular) embedding.fill(spec, intervals);
    }
};

}  // namespace ru
