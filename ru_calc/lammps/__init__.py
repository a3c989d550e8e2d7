"""The potential in LAMMPS, over any number of MPI processes: a pair style as a plugin, and what it reads."""
