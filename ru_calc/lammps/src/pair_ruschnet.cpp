// SPDX-License-Identifier: GPL-2.0-only
// Part of a plugin for LAMMPS, whose headers it is built with; the rest of ru-calc does not depend on it.
#include "pair_ruschnet.hpp"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <thread>

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "exceptions.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

using namespace LAMMPS_NS;

namespace {

constexpr double kMass = 101.07;               // u; a script may have another one
constexpr int kVoigt[6] = {0, 1, 2, 5, 4, 3};  // xx yy zz xy xz yz of LAMMPS in xx yy zz yz xz xy

// The group that `comm_modify group` limits ghosts to, which only relatives of Comm may ask for.
struct Ghosts : Comm {
    static int group(Comm* comm) { return comm->*(&Ghosts::bordergroup); }
};

}  // namespace

PairRuSchNet::PairRuSchNet(LAMMPS* lmp) : Pair(lmp) {
    single_enable = restartinfo = 0;
    one_coeff = manybody_flag = 1;
    centroidstressflag = CENTROID_NOTAVAIL;
    no_virial_fdotr_compute = 1;  // a pair with a ghost pulls at the atom only, so the sum of F r is not the virial
}

PairRuSchNet::~PairRuSchNet() {
    if (!allocated) return;
    memory->destroy(setflag), memory->destroy(cutsq);
}

void PairRuSchNet::allocate() {
    const int n = atom->ntypes + 1;
    memory->create(setflag, n, n, "pair:setflag"), memory->create(cutsq, n, n, "pair:cutsq");
    for (int i = 0; i < n; ++i) std::fill_n(setflag[i], n, 0), std::fill_n(cutsq[i], n, 0.0);
    allocated = 1;
}

void PairRuSchNet::settings(int narg, char** arg) {
    if (narg)
        error->all(FLERR, "pair_style ruschnet takes no arguments, not '{}'; the model is named by pair_coeff", arg[0]);
}

// * * TABLES Ru … [model HASH]
void PairRuSchNet::coeff(int narg, char** arg) {
    std::string hash;
    if (narg > 4 && !std::strcmp(arg[narg - 2], "model")) hash = arg[narg - 1], narg -= 2;
    if (narg < 4)
        error->all(FLERR, "pair_coeff of ruschnet is: pair_coeff * * TABLES Ru, with Ru once for each atom type");
    if (narg - 3 != atom->ntypes)
        error->all(FLERR,
                   "pair_coeff of ruschnet names {} elements, and there are {} atom types: write Ru once for each",
                   narg - 3, atom->ntypes);
    for (int k = 3; k < narg; ++k)
        if (std::strcmp(arg[k], "Ru"))
            error->all(FLERR, "pair_coeff of ruschnet names the element {}, and the model knows Ru only", arg[k]);
    open_tables(arg[2], hash);
    if (!allocated) allocate();
    for (int i = 1; i <= atom->ntypes; ++i)
        for (int j = 1; j <= atom->ntypes; ++j) setflag[i][j] = 1;
    for (int i = 1; atom->mass && i <= atom->ntypes; ++i)
        if (!atom->mass_setflag[i]) atom->set_mass(FLERR, i, kMass);
}

// A file's bytes, read by one process for all.
std::string PairRuSchNet::read_on_first(const std::string& path) {
    std::string bytes;
    bigint size = -1;
    if (comm->me == 0)
        if (FILE* file = std::fopen(path.c_str(), "rb")) {
            char part[65536];
            while (const size_t n = std::fread(part, 1, sizeof part, file)) bytes.append(part, n);
            size = std::ferror(file) ? -1 : bigint(bytes.size());
            std::fclose(file);
        }
    MPI_Bcast(&size, 1, MPI_LMP_BIGINT, 0, world);
    if (size < 0) error->all(FLERR, "the tables {} cannot be read; 'ru-calc lammps tables' writes them", path);
    if (size > MAXSMALLINT) error->all(FLERR, "the tables {} are too large ({} bytes)", path, size);
    bytes.resize(size);
    MPI_Bcast(bytes.data(), int(size), MPI_CHAR, 0, world);
    return bytes;
}

void PairRuSchNet::open_tables(const std::string& path, const std::string& hash) {
    const std::string bytes = read_on_first(path);
    try {
        const ru::lammps::TablesFile file = ru::lammps::parse_tables(bytes);
        if (file.sha256.compare(0, hash.size(), hash))
            throw std::runtime_error("is of the model " + file.sha256 + ", and pair_coeff asks for " + hash);
        domain_ = ru::lammps::make_domain(file);
        if (domain_->measures_distance()) {
            uncertainty_factor_ = file.number("uncertainty_factor"),
            uncertainty_power_ = file.number("uncertainty_power");
            directions_ = file.number("uncertainty_directions");
        }
        if (comm->me == 0)
            utils::logmesg(lmp, "ruschnet: model {} ({}), {}, cutoff {} A\n", file.model, file.sha256.substr(0, 12),
                           file.dtype, domain_->cutoff());
    } catch (const LAMMPSException&) {
        throw;
    } catch (const std::exception& problem) {
        error->all(FLERR, "the tables {} cannot be used: the file {}; 'ru-calc lammps tables' writes it", path,
                   problem.what());
    }
    comm_forward = int(domain_->row_bytes() / sizeof(double));
    built_ = -1;
}

void PairRuSchNet::init_style() {
    if (std::strcmp(update->unit_style, "metal"))
        error->all(FLERR, "pair_style ruschnet computes in units metal, not {}", update->unit_style);
    if (!force->newton_pair)
        error->all(FLERR,
                   "pair_style ruschnet needs newton on: forces on ghosts belong to the atoms that they stand for");
    if (neighbor->nex_type + neighbor->nex_group + neighbor->nex_mol || neighbor->includegroup)
        error->all(FLERR, "pair_style ruschnet needs all pairs: leave out neigh_modify exclude and include");
    if (comm->mode != Comm::SINGLE || Ghosts::group(comm))
        error->all(FLERR,
                   "pair_style ruschnet needs all ghosts within its cutoff: leave out comm_modify mode and group");
    if (atom->nbonds)
        error->all(FLERR, "pair_style ruschnet takes atoms without bonds, as neighbor lists leave bonded pairs out");
    neighbor->add_request(this, NeighConst::REQ_NEWTON_OFF);
    built_ = -1;
    // A hybrid style has added up what its parts send before they knew.
    force->pair->comm_forward = std::max(force->pair->comm_forward, comm_forward);
}

double PairRuSchNet::init_one(int, int) { return domain_->cutoff(); }

// Only now lists know what they skip.
void PairRuSchNet::check_pairs() {
    for (int i = 1; list->ijskip && i <= atom->ntypes; ++i)
        for (int j = 1; j <= atom->ntypes; ++j)
            if (list->ijskip[i][j] || list->iskip[i])
                error->all(
                    FLERR,
                    "pair_style ruschnet needs all pairs, and another pair_coeff has taken those of the types {} "
                    "and {}: use hybrid/overlay",
                    i, j);
}

void PairRuSchNet::update_neighbors() {
    if (neighbor->ago && built_ == neighbor->ncalls) return;
    if (built_ < 0) check_pairs();
    built_ = neighbor->ncalls;
    domain_->set_neighbors(
        {atom->nlocal, atom->nghost, list->inum, list->ilist, list->numneigh, list->firstneigh, NEIGHMASK});
}

// Ends all processes.  Only the first has a screen, and it may be ended by another one before it has said why; what was
// just said is lost where mpiexec hears of the end first.
void PairRuSchNet::fail(const std::string& reason) {
    std::fprintf(stderr, "ERROR on proc %d: %s\n", comm->me, reason.c_str());
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    error->one(FLERR, reason);
}

ru::inference::Request PairRuSchNet::wanted() {
    const size_t n = atom->nlocal, places = n + atom->nghost;
    static constexpr double origin[3] = {};
    energies_.resize(n + 1), forces_.resize(3 * places + 3);
    ru::inference::Request request{
        atom->nmax ? atom->x[0] : origin, origin, energies_.data(), forces_.data(), nullptr, nullptr};
    if (vflag_global) request.virial = virial_;
    if (vflag_atom) virials_.resize(6 * places + 6), request.virials = virials_.data();
    if (measure_) uncertainty_.resize(atom->nmax), request.mahalanobis = uncertainty_.data();
    return request;
}

void PairRuSchNet::add_results(const ru::inference::Request& request) {
    const int n = atom->nlocal, places = n + atom->nghost;
    double total = 0;
    for (int i = 0; i < n; ++i) total += request.energies[i];
    if (!std::isfinite(total)) fail(fmt::format("the energy of ruschnet is {}: look at the positions", total));
    if (eflag_global) eng_vdwl += total;
    for (int i = 0; eflag_atom && i < n; ++i) eatom[i] += request.energies[i];
    for (int i = 0; i < places; ++i)
        for (int a = 0; a < 3; ++a) atom->f[i][a] += request.forces[3 * size_t(i) + a];
    for (int k = 0; request.virial && k < 6; ++k) virial[k] -= request.virial[kVoigt[k]];
    for (int i = 0; request.virials && i < places; ++i)
        for (int k = 0; k < 6; ++k) vatom[i][k] -= request.virials[6 * size_t(i) + kVoigt[k]];
    for (int i = 0; request.mahalanobis && i < n; ++i)
        uncertainty_[i] = uncertainty_factor_ * std::pow(uncertainty_[i] / directions_, 0.5 * uncertainty_power_);
}

void PairRuSchNet::compute(int eflag, int vflag) {
    ev_init(eflag, vflag);
    try {
        update_neighbors();
        const ru::inference::Request request = wanted();
        domain_->evaluate(request, [this](char* rows, size_t bytes) {
            rows_ = rows, row_bytes_ = bytes;
            comm->forward_comm(this);
        });
        add_results(request);
    } catch (const LAMMPSException&) {
        throw;
    } catch (const std::exception& problem) {
        fail(std::string("ruschnet: ") + problem.what());
    }
}

int PairRuSchNet::pack_forward_comm(int n, int* list, double* buffer, int, int*) {
    char* to = reinterpret_cast<char*>(buffer);
    for (int k = 0; k < n; ++k, to += row_bytes_) std::memcpy(to, rows_ + list[k] * row_bytes_, row_bytes_);
    return n * comm_forward;
}

void PairRuSchNet::unpack_forward_comm(int n, int first, double* buffer) {
    std::memcpy(rows_ + first * row_bytes_, buffer, n * row_bytes_);
}

void* PairRuSchNet::extract(const char* name, int& dimension) {
    dimension = 0;
    return std::strcmp(name, "uncertainty_flag") ? nullptr : &measure_;
}

// For `fix pair`: the expected error of each atom's force components in eV/A.
void* PairRuSchNet::extract_peratom(const char* name, int& columns) {
    columns = 0;
    if (std::strcmp(name, "uncertainty") || !domain_ || !domain_->measures_distance()) return nullptr;
    if (int(uncertainty_.size()) < atom->nmax) uncertainty_.resize(atom->nmax);
    return uncertainty_.data();
}

double PairRuSchNet::memory_usage() {
    const auto count = energies_.capacity() + forces_.capacity() + virials_.capacity() + uncertainty_.capacity();
    return Pair::memory_usage() + (domain_ ? domain_->bytes() : 0.0) + double(count * sizeof(double));
}
