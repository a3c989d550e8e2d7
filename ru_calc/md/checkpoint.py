"""Checkpoints: everything that the next step depends on, in one file that is written atomically."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import dict2constraint
from ase.io.jsonio import decode, encode

from ru_calc.errors import DataError
from ru_calc.files import content_sha256, whole_file
from ru_calc.md.settings import MDOutput, MDSettings

NAME, SCHEMA, HASH = "checkpoint.npz", "ru-calc md checkpoint 1", "sha256"
ARRAYS = ("numbers", "positions", "momenta", "masses", "cell", "pbc")


@dataclass(frozen=True)
class Checkpoint:
    """State after `step`.

    Attributes:
        atoms: positions, momenta and cell, without calculator.
        settings, output: of the run; `output.folder` is the folder of the checkpoint.
        step: steps done.
        dof: degrees of freedom, of the temperature.
        start_eV, volume_A3: conserved quantity and volume at step 0, for the monitor.
        energy_eV: potential energy of `atoms`, by which a restart recognises the calculator.
        ensemble: internal variables of the integrator.
        rng: state of the random number generator.
        marks: how far each growing file had got.
    """

    atoms: Atoms
    settings: MDSettings
    output: MDOutput
    step: int
    dof: int
    start_eV: float
    volume_A3: float
    energy_eV: float
    ensemble: dict[str, Any]
    rng: dict[str, Any]
    marks: dict[str, int]

    def save(self) -> None:
        """Writes `output.folder / NAME` atomically.

        Raises:
            OutputError: it cannot be written.
        """
        scalars = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("atoms", "settings", "output")
        }
        text = {
            "schema": SCHEMA,
            "settings": dataclasses.asdict(self.settings),
            "output": dataclasses.asdict(self.output) | {"folder": ""},
            "scalars": scalars,
            "constraints": encode([constraint.todict() for constraint in self.atoms.constraints]),
        }
        arrays = {"numbers": self.atoms.numbers, "positions": self.atoms.positions, "momenta": self.atoms.get_momenta()}
        arrays |= {"masses": self.atoms.get_masses(), "cell": self.atoms.cell.array, "pbc": self.atoms.pbc}
        text = json.loads(json.dumps(text))
        text[HASH] = content_sha256(text, arrays)
        with whole_file(self.output.folder / NAME) as temporary, open(temporary, "wb") as file:
            np.savez(file, text=np.array(json.dumps(text)), **arrays)  # type: ignore[arg-type]


def steps_done(folder: Path) -> int | None:
    """Steps up to the checkpoint in `folder`; None if there is no usable one."""
    try:
        return load_checkpoint(folder).step
    except DataError:
        return None


def load_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint of the run in `folder`.

    Raises:
        DataError: there is none, or it is damaged or from another program.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        raise DataError(f"there is no {NAME} in {folder}: give the output folder of an earlier run")
    try:
        with np.load(path, allow_pickle=False) as file:
            text = json.loads(str(file["text"]))
            arrays = {name: file[name] for name in ARRAYS}
        written = text.pop(HASH, None)  # checkpoints of earlier versions have none
        if written not in (None, content_sha256(text, arrays)):
            raise ValueError("its content does not have the hash that is in it")
        if text["schema"] != SCHEMA:
            raise DataError(f"{path} has the schema {text['schema']!r}; this version reads {SCHEMA!r}")
        atoms = Atoms(arrays["numbers"], arrays["positions"], cell=arrays["cell"], pbc=arrays["pbc"])
        if not np.array_equal(arrays["masses"], atoms.get_masses()):
            atoms.set_masses(arrays["masses"])
        atoms.set_momenta(arrays["momenta"])
        atoms.set_constraint([dict2constraint(c) for c in decode(text["constraints"])])
        output = MDOutput(**text["output"] | {"folder": Path(folder)})
        return Checkpoint(atoms, MDSettings(**text["settings"]), output, **text["scalars"])
    except DataError:
        raise
    except Exception as problem:  # whatever a damaged archive raises, from zipfile, zlib, numpy, JSON or ASE
        raise DataError(
            f"{path} is damaged or from another program ({str(problem)[:200]}); copy it again, or start a new run"
        ) from problem
