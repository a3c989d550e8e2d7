// SPDX-License-Identifier: GPL-2.0-only
// Part of a plugin for LAMMPS, whose headers it is built with; the rest of ru-calc does not depend on it.
//
// What `plugin load` calls.  RUSCHNET_LAMMPS is the version of LAMMPS whose headers this was built with.
#include <cstdio>
#include <cstring>

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

extern "C" void lammpsplugin_init(void* lammps, void* handle, void* registering) {
    const char* version = static_cast<const char*>(lammps_extract_global(lammps, "lammps_version"));
    if (!version || std::strcmp(version, RUSCHNET_LAMMPS)) {
        std::fprintf(stderr,
                     "ERROR: the plugin ruschnet was built for LAMMPS %s, and this is LAMMPS %s: run 'ru-calc lammps "
                     "build' with the LAMMPS that is to load it\n",
                     RUSCHNET_LAMMPS, version ? version : "of an unknown version");
        return;
    }
    Plugin plugin{RUSCHNET_LAMMPS, "pair", "ruschnet", "ruthenium of ru-calc", "ru-calc", create, handle};
    reinterpret_cast<Register>(registering)(&plugin, lammps);
}
