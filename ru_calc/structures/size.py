"""Whether a structure fits into the memory of this machine, told before it is built."""

from __future__ import annotations

import math
import os

from ru_calc.errors import SettingsError

STRUCTURE_BYTES = 200  # per atom, while it is built
FORCES_BYTES = 5000  # per atom, at least, for the forces of a model: neighbours and workspace of `fast`


def check_size(n_atoms: float, what: str, bytes_per_atom: int = STRUCTURE_BYTES) -> None:
    """Refuses a structure that is too large for the memory of this machine.

    Args:
        n_atoms: their number, or an estimate of it.
        what: what asks for so many, with its value, as "n_atoms is 100".
        bytes_per_atom: of all that is to be done with it.

    Raises:
        SettingsError: it needs more memory than there is.
    """
    room, atoms = memory_bytes(), float(min(n_atoms, 10**300))
    if atoms * bytes_per_atom > room:
        raise SettingsError(
            f"{what}: about {atoms:.2g} atoms need {atoms * bytes_per_atom / 1e9:.2g} GB of memory, but there are "
            f"{room / 1e9:.3g} GB; ask for at most {int(room / bytes_per_atom):.2g} atoms"
        )


def memory_bytes() -> float:
    """Memory that this process can have: that of the machine, or a lower limit on the process; infinite if unknown."""
    limits = [math.inf]
    try:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # not on this system
        pass
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits.append(math.inf if limit == resource.RLIM_INFINITY else limit)
    except (ImportError, OSError):
        pass
    return min(limits)
