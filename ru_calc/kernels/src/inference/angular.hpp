// The weights of the angular embedding, and the sums of its third order.
#pragma once
#include <algorithm>
#include <map>

#include "../common/harmonics.hpp"
#include "weights.hpp"

namespace ru::inference {

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

template <class T> struct Angular {
    int radial = 0, l_max = 0, harmonics = 0, triple = 0, couplings = 0, features = 0, mixed = 0;
    Table<T> table;
    Dense<T> mix;              // rows: M A, then the two factors of the third order
    Dense<T> to_whitened;      // of the invariants
    std::vector<T> by_degree;  // 1 / (2 l + 1)
    std::vector<TripleGroup> groups;
    std::vector<TripleProduct> products;
    std::vector<TripleTerm<T>> terms, reverse_terms;
    Raising<T> raising;

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
        to_whitened.fill(spec.array("angular_to_whitened"), int(spec.array("whitened_bias").size()));
        for (int l = 0; l <= l_max; ++l) by_degree.push_back(T(1.0 / (2 * l + 1)));
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

}  // namespace ru::inference
