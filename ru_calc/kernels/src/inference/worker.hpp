// What the passes of one evaluation work with.
#pragma once
#include <barrier>
#include <mutex>

#include "density.hpp"

namespace ru::inference {

constexpr int kTile = 48, kAngularTile = 12;  // atoms whose dense layers are computed together

struct Request {
    const double* positions;  // (n, 3), the caller's order
    const double* images;     // (m, 3) translation of each image
    // (n), (n, 3), (frames, 6), (n) squares of the Mahalanobis distances; all but the first may be null
    double *energies, *forces, *virial, *mahalanobis;
    // (n, 6) parts of the virial, half of that of each pair at either end.  Forces and virials have rows for ghosts
    // too: what is to be added to those of the atoms that they stand for.
    double* virials = nullptr;

    bool backward() const { return forces || virial || virials; }
};

// How ghosts get what the processes that own them computed; without ghosts there is nothing to exchange.
template <class T> struct Exchange {
    virtual ~Exchange() = default;
    // Fills the rows of the ghosts, (n_ghosts, width) behind those of the atoms.
    virtual void fill_ghosts(T* rows, int width) = 0;
};

// One layer of the energy pathway, for a tile: what enters its activation, and what comes out.
template <class T> struct HeadLayer {
    T *in, *out;
    int width;
};

// All memory of a thread: it takes none while it works, as it could not tell Python that there is none.
template <class T> struct ThreadScratch {
    Buffer<T> tile, head, slope;                                          // of dense layers and of filters
    Buffer<T> invariants, mixed, mixed_bar, density_bar, products, sums;  // of the angular embedding
    Buffer<double> force, virial, virials;
    Buffer<Candidate> candidates;
    FilterWeights<T> weights;
    DensityScratch<T> density;
    std::vector<HeadLayer<T>> layers;

    void reserve(const Model<T>& model, const Plan& plan, const Request& request) {
        tile.ensure(kTile * model.channels), slope.ensure(kMost * lanes<T>);
        size_t widths = model.head, longest = 1;
        for (const auto& bias : model.head_dense_bias) widths += bias.size;
        head.ensure(2 * kTile * widths + kTile), layers.reserve(model.head_dense.size() + 1);
        for (size_t i = 0; i < size_t(plan.n_atoms); ++i)
            longest = std::max(longest, size_t(plan.row[3 * i + 3] - plan.row[3 * i]));
        candidates.ensure(longest + 1), virial.ensure(6 * size_t(plan.n_frames));
        if (request.backward()) force.ensure(3 * size_t(plan.n_places()) + 3);
        if (request.virials) virials.ensure(6 * size_t(plan.n_places()) + 6);
        if (model.angular) reserve(model.embedding);
    }
    size_t bytes() const {
        size_t total = sizeof(*this) + force.bytes() + virial.bytes() + virials.bytes() + candidates.bytes();
        total += density.bytes();
        for (const auto* b : {&tile, &head, &slope, &invariants, &mixed, &mixed_bar, &density_bar, &products, &sums})
            total += b->bytes();
        return total;
    }

  private:
    void reserve(const Angular<T>& e) {
        invariants.ensure(kTile * e.features + e.features + lanes<T>);  // of a tile, and of one atom
        mixed.ensure(size_t(kAngularTile) * e.harmonics * e.mixed);
        mixed_bar.ensure(size_t(kAngularTile) * e.harmonics * e.mixed);
        density_bar.ensure(size_t(kAngularTile) * e.harmonics * e.radial);
        products.ensure((e.products.size() + 1) * lanes<T>);
        sums.ensure((e.groups.size() + 1) * std::max(e.triple, 1));
        density.reserve(e);
    }
};

// What is kept between calls, so that no call pays for memory.  One call at a time.
template <class T> struct Workspace {
    std::mutex busy;
    Buffer<double> positions, energy;
    Geometry<T> geometry;
    std::vector<Buffer<T>> hidden, incoming;  // by source, by block
    Buffer<T> last_incoming_bar, head, density, whitened;
    std::vector<std::unique_ptr<ThreadScratch<T>>> scratch;

    void reserve(const Model<T>& model, const Plan& plan, const Request& request) {
        const size_t n = plan.n_atoms, places = plan.n_places();
        positions.ensure(3 * places + 3), energy.ensure(n + 1), head.ensure(n * model.head + 1);
        geometry.reserve(plan.neighbors.size(), n);
        hidden.resize(model.sources.size()), incoming.resize(model.blocks);
        for (auto& b : hidden) b.ensure(places * model.channels + 1);
        for (int b = model.first_gathered(); b < model.blocks; ++b) incoming[b].ensure(places * model.channels + 1);
        if (request.backward()) last_incoming_bar.ensure(n * model.channels + 1);
        if (request.mahalanobis) whitened.ensure(n * model.whitened_bias.size + 1);
        if (model.angular) density.ensure(n * model.embedding.harmonics * model.embedding.radial + 1);
        while (int(scratch.size()) < plan.threads) scratch.push_back(std::make_unique<ThreadScratch<T>>());
        for (int t = 0; t < plan.threads; ++t) scratch[t]->reserve(model, plan, request);
    }
    size_t bytes() const {
        size_t total = positions.bytes() + energy.bytes() + geometry.bytes();
        for (const auto* b : {&last_incoming_bar, &head, &density, &whitened}) total += b->bytes();
        for (const auto* each : {&hidden, &incoming})
            for (const auto& b : *each) total += b.bytes();
        for (const auto& s : scratch) total += s->bytes();
        return total;
    }
};

// One thread at one evaluation; atoms begin … end − 1 are its own.
template <class T> struct Worker {
    const Model<T>& model;
    const Plan& plan;
    const Request& request;
    Workspace<T>& work;
    ThreadScratch<T>& scratch;
    std::barrier<>& barrier;
    Exchange<T>* exchange;  // null without ghosts
    int thread, begin, end;

    // To be called before a pass that reads what other threads wrote.
    void meet() const {
        if (plan.threads > 1) barrier.arrive_and_wait();
    }
    // To be called before a pass that reads rows of a channel each, of all atoms, which their owners wrote.
    void share(T* rows) const {
        meet();
        if (exchange) exchange->fill_ghosts(rows, model.channels);
    }
    // Calls f(first atom, how many) for tiles of a range of atoms.
    template <class F> void tiles(F f) const {
        for (int i = begin; i < end; i += kTile) f(i, std::min(kTile, end - i));
    }

    // Messages to an atom, then what enters the activation, then the adjoints of both.
    T* hidden(int source, int i) const { return work.hidden[source].get() + size_t(i) * model.channels; }
    // h, what a block gathers from an atom.
    T* incoming(int block, int i) const { return work.incoming[block].get() + size_t(i) * model.channels; }
    // h̄ takes the memory of h of the block after it, which nobody reads any more.
    T* incoming_bar(int block, int i) const {
        const auto& memory = block == model.blocks - 1 ? work.last_incoming_bar : work.incoming[block + 1];
        return memory.get() + size_t(i) * model.channels;
    }
    // z, what the energy pathway starts from, then its adjoint.
    T* head(int i) const { return work.head.get() + size_t(i) * model.head; }
    // y = P φ − o, the features as the training atoms' covariance sees them.
    T* whitened(int i) const { return work.whitened.get() + size_t(i) * model.whitened_bias.size; }
    T* density(int i) const {
        return work.density.get() + size_t(i) * model.embedding.harmonics * model.embedding.radial;
    }
};

}  // namespace ru::inference
