// One evaluation: energies, forces and virial of all atoms, in passes over pairs and over tiles of atoms.
//
//   pairs        those within the cutoff; the ZBL core
//   embedding    angular only: A, invariants, s_0 -> h, z
//   blocks       m_i = Σ_j h_j ⊙ W(r_ij); s_k = silu(norm(D m_i)) -> h of later blocks, z
//   energy       E_i from z, and z̄
//   and the same backwards.  Threads meet, and ghosts are filled, before each pass that reads what others wrote.
#pragma once
#include "embedding.hpp"
#include "head.hpp"
#include "messages.hpp"
#include "threads.hpp"

namespace ru::inference {

template <class T> inline void begin_pass(const Worker<T>& own) {
    const Model<T>& m = own.model;
    std::fill(own.work.energy.get() + own.begin, own.work.energy.get() + own.end, 0.0);
    load_positions(own.request.positions, own.plan.order, own.begin, own.end, own.work.positions.get());
    if (own.thread == 0)
        load_positions(own.request.positions, own.plan.order, own.plan.n_atoms, own.plan.n_places(),
                       own.work.positions.get());
    if (own.request.backward()) std::fill_n(own.scratch.force.get(), 3 * size_t(own.plan.n_places()), 0.0);
    if (own.request.virials) std::fill_n(own.scratch.virials.get(), 6 * size_t(own.plan.n_places()), 0.0);
    std::fill_n(own.scratch.virial.get(), 6 * size_t(own.plan.n_frames), 0.0);
    for (int i = own.begin; i < own.end; ++i) {
        std::copy_n(m.head_bias.get(), m.head, own.head(i));
        if (own.request.mahalanobis) std::copy_n(m.whitened_bias.get(), m.whitened_bias.size, own.whitened(i));
        for (int b = m.first_gathered(); b < m.blocks; ++b)
            std::copy_n(m.start[b].get(), m.channels, own.incoming(b, i));
    }
}

template <class T> inline void forward_pass(const Worker<T>& own) {
    const Model<T>& m = own.model;
    find_pairs(own);
    if (m.angular) own.tiles([&](int i, int n) { embed(own, i, n); });
    for (int b = 0; b < m.blocks; ++b) {
        if (b >= m.first_gathered()) own.share(own.incoming(b, 0));
        send_messages(own, b);
        own.tiles([&](int i, int n) { interact(own, b, i, n); });
    }
    own.tiles([&](int i, int n) { energies(own, i, n); });
}

template <class T> inline void reverse_pass(const Worker<T>& own) {
    for (int b = own.model.blocks - 1; b >= 0; --b) {
        own.tiles([&](int i, int n) { reverse_interact(own, b, i, n); });
        own.share(own.hidden(own.model.source_of(b), 0));
        reverse_messages(own, b);
    }
    if (own.model.angular) own.tiles([&](int i, int n) { reverse_embed(own, i, n); });
}

// Forces and virials of the worker's atoms, and the first one's virial, from what all threads found.
template <class T> inline void sum_threads(const Worker<T>& own) {
    const auto total = [&](auto part, size_t at) {
        double sum_ = 0;
        for (int t = 0; t < own.plan.threads; ++t) sum_ += ((*own.work.scratch[t]).*part).get()[at];
        return sum_;
    };
    const auto rows = [&](auto part, int width, double* out, int begin, int end) {
        for (int i = begin; out && i < end; ++i)
            for (int a = 0; a < width; ++a)
                out[width * size_t(own.plan.order[i]) + a] = total(part, width * size_t(i) + a);
    };
    const auto both = [&](int begin, int end) {
        rows(&ThreadScratch<T>::force, 3, own.request.forces, begin, end);
        rows(&ThreadScratch<T>::virials, 6, own.request.virials, begin, end);
    };
    both(own.begin, own.end);
    if (own.thread == 0) both(own.plan.n_atoms, own.plan.n_places());
    if (own.request.virial && own.thread == 0)
        for (int q = 0; q < 6 * own.plan.n_frames; ++q) own.request.virial[q] = total(&ThreadScratch<T>::virial, q);
}

// Squares of the distances of the worker's atoms from the training atoms.
template <class T> inline void measure(const Worker<T>& own) {
    const int width = own.model.whitened_bias.size;
    for (int i = own.begin; i < own.end; ++i) {
        const T* y = own.whitened(i);
        double total = 0;
        for (int k = 0; k < width; ++k) total += double(y[k]) * double(y[k]);
        own.request.mahalanobis[own.plan.order[i]] = total;
    }
}

template <class T> inline void run_passes(const Worker<T>& own) {
    begin_pass(own);
    own.meet();
    forward_pass(own);
    if (own.request.mahalanobis) measure(own);
    if (own.request.backward()) reverse_pass(own);
    for (int i = own.begin; i < own.end; ++i)
        own.request.energies[own.plan.order[i]] = own.work.energy.get()[i] + own.model.zero;
    if (!own.request.backward()) return;
    own.meet();
    sum_threads(own);
}

template <class T> inline void evaluate(const Model<T>& model, const Plan& plan, const Request& request,
                                        Workspace<T>& memory, Exchange<T>* exchange = nullptr) {
    memory.reserve(model, plan, request);
    in_threads(plan.threads, [&](int t, std::barrier<>& barrier) {
        run_passes(Worker<T>{model, plan, request, memory, *memory.scratch[t], barrier, exchange, t, plan.first_atom[t],
                             plan.first_atom[t + 1]});
    });
}

}  // namespace ru::inference
