// A trained network.
#pragma once
#include "angular.hpp"

namespace ru::inference {

template <class T> struct Model {
    int channels, width, blocks, head, intervals;
    bool angular, linear_head;
    double cutoff, fade, step, energy_bias, zero = 0;  // zero: added to every atom's energy
    T norm_eps;
    double core_inner, core_outer, core_length, core_strength;
    std::vector<double> core_terms;  // strength and decay of each exponential of the screening
    std::vector<Table<T>> filters;
    std::vector<Source<T>> sources;
    std::vector<Vector<T>> start;  // h_b before its sources
    Vector<T> head_bias, energy_weight;
    Vector<T> whitened_bias;           // empty in models without an uncertainty
    std::vector<Dense<T>> head_dense;  // hidden layers of the energy pathway after the first
    std::vector<Vector<T>> head_dense_bias;
    Angular<T> embedding;

    // Blocks before this one gather nothing: all atoms start alike.
    int first_gathered() const { return angular ? 0 : 1; }
    int source_of(int block) const { return block + angular; }

    explicit Model(const Spec& spec) {
        channels = int(spec.number("channels")), width = int(spec.number("width"));
        blocks = int(spec.number("blocks")), intervals = int(spec.number("intervals"));
        cutoff = spec.number("cutoff"), fade = spec.number("fade"), step = cutoff / intervals;
        norm_eps = T(spec.number("norm_eps")), angular = spec.number("angular") != 0;
        fill_core(spec), fill_head(spec), fill_blocks(spec), fill_sources(spec);
        if (angular) embedding.fill(spec, intervals);
    }

  private:
    void fill_core(const Spec& spec) {
        core_inner = spec.number("core_inner"), core_outer = spec.number("core_outer");
        core_length = spec.number("core_length"), core_strength = spec.number("core_strength");
        core_terms = spec.array("core_terms");
    }

    void fill_head(const Spec& spec) {
        whitened_bias.fill(spec.array("whitened_bias"));
        head = int(spec.number("head")), linear_head = spec.number("linear_head") != 0;
        head_bias.fill(spec.array("head_bias")), energy_weight.fill(spec.array("energy_weight"));
        energy_bias = spec.number("energy_bias");
        const int more = int(spec.number("head_layers"));
        head_dense.resize(more), head_dense_bias.resize(more);
        for (int k = 0; k < more; ++k) {
            head_dense_bias[k].fill(spec.array("head_bias_" + std::to_string(k)));
            head_dense[k].fill(spec.array("head_dense_" + std::to_string(k)), head_dense_bias[k].size);
        }
    }

    void fill_blocks(const Spec& spec) {
        filters.resize(blocks), start.resize(blocks);
        for (int b = 0; b < blocks; ++b) {
            filters[b].fill(spec.array("filter_" + std::to_string(b)), intervals);
            start[b].fill(spec.array("start_" + std::to_string(b)));
        }
    }

    void fill_sources(const Spec& spec) {
        sources.resize(blocks + angular);
        for (int k = 0; k < int(sources.size()); ++k) {
            const std::string name = "source_" + std::to_string(k) + "_";
            Source<T>& s = sources[k];
            s.in.fill(spec.array(name + "in"), channels), s.bias.fill(spec.array(name + "bias"));
            s.scale.fill(spec.array(name + "scale")), s.offset.fill(spec.array(name + "offset"));
            s.norm = s.scale.size > 0;
            s.to_head.fill(spec.array(name + "to_head"), head);
            s.to_whitened.fill(spec.array(name + "to_whitened"), whitened_bias.size);
            s.to_block.resize(blocks);
            for (int b = 0; b < blocks; ++b) s.to_block[b].fill(spec.array(name + "to_" + std::to_string(b)), channels);
        }
    }
};

}  // namespace ru::inference
