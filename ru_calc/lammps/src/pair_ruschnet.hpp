// SPDX-License-Identifier: GPL-2.0-only
// Part of a plugin for LAMMPS, whose headers it is built with; the rest of ru-calc does not depend on it.
//
// pair_style ruschnet, pair_coeff * * TABLES Ru …
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "domain.hpp"
#include "pair.h"

namespace LAMMPS_NS {

class PairRuSchNet final : public Pair {
  public:
    explicit PairRuSchNet(LAMMPS* lmp);
    ~PairRuSchNet() override;

    void settings(int narg, char** arg) override;
    void coeff(int narg, char** arg) override;
    void init_style() override;
    double init_one(int i, int j) override;
    void compute(int eflag, int vflag) override;
    int pack_forward_comm(int n, int* list, double* buffer, int, int*) override;
    void unpack_forward_comm(int n, int first, double* buffer) override;
    void* extract(const char* name, int& dimension) override;
    void* extract_peratom(const char* name, int& columns) override;
    double memory_usage() override;

  private:
    void allocate();
    std::string read_on_first(const std::string& path);
    void open_tables(const std::string& path, const std::string& hash);
    [[noreturn]] void fail(const std::string& reason);
    void check_pairs();
    void update_neighbors();
    ru::inference::Request wanted();
    void add_results(const ru::inference::Request& request);

    std::unique_ptr<ru::lammps::Domain> domain_;
    bigint built_ = -1;     // lists of this run that neighbours were last taken from
    char* rows_ = nullptr;  // that ghosts are filled from, while the passes run
    size_t row_bytes_ = 0;
    std::vector<double> energies_, forces_, virials_, uncertainty_;
    double virial_[6] = {}, uncertainty_factor_ = 0, uncertainty_power_ = 0, directions_ = 1;
    int measure_ = 0;  // set by `fix pair` when it wants the uncertainty
};

}  // namespace LAMMPS_NS
