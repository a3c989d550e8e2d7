// SPDX-License-Identifier: GPL-2.0-only
// Part of a plugin for LAMMPS, whose headers it is built with; the rest of ru-calc does not depend on it.
//
// The atoms of one process, and the ghosts around them, evaluated by the passes of the engine.
#pragma once
#include <functional>
#include <memory>
#include <stdexcept>

#include "inference/evaluate.hpp"
#include "tables_file.hpp"

namespace ru::lammps {

// A half list without newton's third law: a pair of atoms stands in one of their rows, a pair with a ghost in the row
// of the atom.
struct NeighborLists {
    int n_atoms, n_ghosts, n_rows;
    const int *atom, *count;  // of each row
    int* const* neighbors;
    int mask;
};

// Fills the rows of ghosts, given the rows of atoms and the bytes of one.
using FillGhosts = std::function<void(char*, size_t)>;

class Domain {
  public:
    virtual ~Domain() = default;
    virtual double cutoff() const = 0;
    virtual size_t row_bytes() const = 0;        // of what ghosts are sent
    virtual bool measures_distance() const = 0;  // from the training atoms
    virtual void set_neighbors(const NeighborLists& lists) = 0;
    virtual void evaluate(const inference::Request& request, const FillGhosts& fill) = 0;
    virtual double bytes() const = 0;
};

template <class T> class DomainOf final : public Domain {
  public:
    explicit DomainOf(const TablesFile& file) : model_(file.spec()) {
        const int no_neighbors = 0;
        int* none = nullptr;
        const int alone = 0;
        set_neighbors({1, 0, 1, &alone, &no_neighbors, &none, 0});
        // A lone atom has exactly the energy of an isolated atom, in this precision.
        const double origin[3] = {};
        double energy = 0;
        inference::Request request{origin, origin, &energy, nullptr, nullptr, nullptr};
        evaluate(request, {});
        model_.zero = file.number("atom_energy_eV") - energy;
    }

    double cutoff() const override { return model_.cutoff; }
    size_t row_bytes() const override { return size_t(model_.channels) * sizeof(T); }
    bool measures_distance() const override { return model_.whitened_bias.size > 0; }
    double bytes() const override { return double(memory_.bytes() + plan_.bytes()); }

    void set_neighbors(const NeighborLists& lists) override {
        plan_.n_atoms = lists.n_atoms, plan_.n_ghosts = lists.n_ghosts, plan_.n_frames = plan_.n_images = 1;
        plan_.directed = model_.angular;
        plan_.order.resize(plan_.n_places());
        std::iota(plan_.order.begin(), plan_.order.end(), 0);
        plan_.frame.assign(plan_.n_atoms, 0), plan_.first_atom = {0, plan_.n_atoms};
        inference::fill_rows(plan_, [&](auto put) {
            for (int row = 0; row < lists.n_rows; ++row)
                for (int k = 0; k < lists.count[row_atom(lists, row)]; ++k)
                    put_pair(put, row_atom(lists, row), lists.neighbors[row_atom(lists, row)][k] & lists.mask);
        });
    }

    void evaluate(const inference::Request& request, const FillGhosts& fill) override {
        Filling filling{fill};
        inference::evaluate<T>(model_, plan_, request, memory_, fill ? &filling : nullptr);
    }

  private:
    struct Filling final : inference::Exchange<T> {
        const FillGhosts& fill;
        explicit Filling(const FillGhosts& f) : fill(f) {}
        void fill_ghosts(T* rows, int width) override { fill(reinterpret_cast<char*>(rows), width * sizeof(T)); }
    };

    static int row_atom(const NeighborLists& lists, int row) { return lists.atom[row]; }

    template <class Put> void put_pair(const Put& put, int i, int j) const {
        if (j >= plan_.n_atoms) return put(i, 1, inference::Neighbor{j, 0});
        if (i > j) std::swap(i, j);
        put(i, 0, inference::Neighbor{j, 0});
        if (plan_.directed) put(j, 2, inference::Neighbor{i, 0});
    }

    inference::Model<T> model_;
    inference::Plan plan_;
    inference::Workspace<T> memory_;
};

inline std::unique_ptr<Domain> make_domain(const TablesFile& file) {
    if (file.dtype == "float32") return std::make_unique<DomainOf<float>>(file);
    if (file.dtype == "float64") return std::make_unique<DomainOf<double>>(file);
    throw std::runtime_error("has the dtype '" + file.dtype + "', which is neither float32 nor float64");
}

}  // namespace ru::lammps
