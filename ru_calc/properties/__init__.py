"""Properties of ruthenium from any ASE calculator, with reference values.

Energies are in eV (meV per atom for differences between phases), lengths in Å, moduli in GPa, frequencies in THz.
"""

from ru_calc.properties.bulk import (
    HcpLattice,
    energy_at_volume,
    equation_of_state,
    equilibrium_volume,
    fit_equation_of_state,
    phase_order,
    relaxed_hcp,
)
from ru_calc.properties.defects import basal_slab, basal_surface, hcp_vacancy, layer_spacings_percent, vacancy_formation
from ru_calc.properties.elastic import elastic_tensor, hcp_elastic_constants
from ru_calc.properties.energies import dimer, isolated_atom_energy
from ru_calc.properties.everything import Property, all_properties
from ru_calc.properties.order import bond_fractions, common_neighbour_bonds, lindemann_index
from ru_calc.properties.phonons import gamma_phonons, lowest_frequency_THz, phonopy_of
from ru_calc.properties.references import level_of, reference, reference_value, reference_values
from ru_calc.properties.table import Row, compare, markdown, score, summary
from ru_calc.structures.lattices import PHASES, hcp_crystal, phase_crystal

__all__ = [
    "PHASES",
    "HcpLattice",
    "Property",
    "Row",
    "all_properties",
    "basal_slab",
    "basal_surface",
    "bond_fractions",
    "common_neighbour_bonds",
    "compare",
    "dimer",
    "elastic_tensor",
    "energy_at_volume",
    "equation_of_state",
    "equilibrium_volume",
    "fit_equation_of_state",
    "gamma_phonons",
    "hcp_crystal",
    "hcp_elastic_constants",
    "hcp_vacancy",
    "isolated_atom_energy",
    "layer_spacings_percent",
    "level_of",
    "lindemann_index",
    "lowest_frequency_THz",
    "markdown",
    "phase_crystal",
    "phase_order",
    "phonopy_of",
    "reference",
    "reference_value",
    "reference_values",
    "relaxed_hcp",
    "score",
    "summary",
    "vacancy_formation",
]
