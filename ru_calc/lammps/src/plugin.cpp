// SPDX-License-Identifier: GPL-2.0-only
// Part of a plugin for LAMMPS, whose headers it is built with; the rest of ru-calc does not depend on it.
//
// What `plugin load` calls.  RUSCHNET_LAMMPS is the version of LAMMPS whose headers this was built with.
#include <cstdio>
#include <cstring>
#include <string>

#include "lammps.h"
#include "pair_ruschnet.hpp"

namespace {

// As in lammpsplugin.h, which no distribution of LAMMPS installs.
struct Plugin {
    const char *version, *style, *name, *info, *author;
    void* (*creator)(void*);
    void* handle;
};
using Register = void (*)(Plugin*, void*);

void* create(void* lammps) { return new LAMMPS_NS::PairRuSchNet(static_cast<LAMMPS_NS::LAMMPS*>(lammps)); }

}  // namespace

// Of the library's C interface, which is there whatever its classes look like.
extern "C" void* lammps_extract_global(void* lammps, const char* name);
extern "C" int lammps_extract_setting(void* lammps, const char* name);

namespace {

// Why classes of this LAMMPS are not those that the plugin knows; empty if they are.
std::string difference(void* lammps) {
    const char* found = static_cast<const char*>(lammps_extract_global(lammps, "lammps_version"));
    const std::string version = found ? found : "of an unknown version";
    if (version != RUSCHNET_LAMMPS) return "LAMMPS " RUSCHNET_LAMMPS ", and this is LAMMPS " + version;
    if (lammps_extract_setting(lammps, "bigint") != int(sizeof(LAMMPS_NS::bigint)) ||
        lammps_extract_setting(lammps, "tagint") != int(sizeof(LAMMPS_NS::tagint)) ||
        lammps_extract_setting(lammps, "imageint") != int(sizeof(LAMMPS_NS::imageint)))
        return "other sizes of integers (SMALLBIG or BIGBIG)";
    char library[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(library, &length);
#ifdef OPEN_MPI
    const bool open_mpi = true;
#else
    const bool open_mpi = false;
#endif
    if (open_mpi != (std::strstr(library, "Open MPI") != nullptr))
        return std::string(open_mpi ? "Open MPI" : "MPICH") + ", and this LAMMPS runs with another MPI";
    return "";
}

}  // namespace

extern "C" void lammpsplugin_init(void* lammps, void* handle, void* registering) {
    const std::string reason = difference(lammps);
    if (!reason.empty()) {
        std::fprintf(
            stderr,
            "ERROR: the plugin ruschnet was built for %s: run 'ru-calc lammps build' for the LAMMPS that is to "
            "load it\n",
            reason.c_str());
        return;
    }
    Plugin plugin{RUSCHNET_LAMMPS, "pair", "ruschnet", "ruthenium of ru-calc", "ru-calc", create, handle};
    reinterpret_cast<Register>(registering)(&plugin, lammps);
}
