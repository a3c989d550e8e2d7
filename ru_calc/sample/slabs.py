"""Slabs of several faces: clean, rattled, with adatoms, vacancies and steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ru_calc.sample.crystals import phase
from ru_calc.sample.kind import Case, Draw, Kind, rattled
from ru_calc.structures.planes import layers_of, plane_of, plane_slab

AMPLITUDES_A = (0.05, 0.1, 0.15, 0.2)
ADATOM_A = (2.2, 2.5)
SITES = ("hollow", "hollow_above", "bridge", "top", "any")


@dataclass(frozen=True)
class Face:
    """A face of a phase: Miller indices, atomic layers, and cells along either side."""

    phase: str
    indices: tuple[int, int, int]
    layers: int
    repeat: tuple[int, int] = (1, 1)

    @property
    def name(self) -> str:
        h, k, l = self.indices  # noqa: E741
        return f"{self.phase}{h}{k}{-h - k or 0}{l}" if self.phase == "hcp" else f"{self.phase}{h}{k}{l}"

    def slab(self, vacuum_A: float, ratio: float = 1.0) -> Atoms:
        """The bulk-terminated slab of a crystal at `ratio` times its volume."""
        crystal = phase(self.phase, ratio)
        slab = plane_slab(crystal, plane_of(self.phase, self.indices), self.layers, self.repeat, vacuum_A)
        slab.info["facet"] = self.name
        return slab

    def case(self, more: int = 0, what: object = None) -> Case:
        """A case of this face with so many atoms more than the slab."""
        return Case(len(self.slab(12.0)) + more, self if what is None else (self, what))


def _faces(phase_name: str, indices: tuple[int, int, int], *layers: int) -> tuple[Face, ...]:
    return tuple(Face(phase_name, indices, n) for n in layers)


BASAL = _faces("hcp", (0, 0, 1), 3, 4, 5, 6, 7, 8)
PRISM = _faces("hcp", (1, 0, 0), 4, 6, 8)
PRISM2 = _faces("hcp", (1, 1, 0), 3, 4, 5)
PYRAMID = _faces("hcp", (1, 0, 1), 6, 8)
OTHER = (
    *_faces("fcc", (1, 1, 1), 4, 6),
    *_faces("fcc", (1, 0, 0), 4, 6),
    *_faces("fcc", (1, 1, 0), 6, 8),
    *_faces("bcc", (1, 1, 0), 4, 6),
    *_faces("bcc", (1, 0, 0), 5, 7),
    *_faces("bcc", (1, 1, 1), 8),
)
WIDE = (Face("hcp", (0, 0, 1), 3, (2, 1)), Face("hcp", (0, 0, 1), 4, (2, 1)), Face("hcp", (0, 0, 1), 3, (2, 2)))
ROUGH = (*WIDE, Face("hcp", (1, 0, 0), 6, (2, 1)), Face("fcc", (1, 0, 0), 3, (2, 2)))
STEPPED = (Face("hcp", (0, 0, 1), 3, (4, 1)), Face("hcp", (0, 0, 1), 4, (4, 1)), Face("fcc", (1, 0, 0), 3, (4, 1)))


def _clean(face: Face, draw: Draw) -> Atoms:
    """As cut; from the second time on, the distance of the outermost layers and the lattice differ."""
    if not draw.turn:
        return face.slab(draw.vacuum_A)
    slab = face.slab(draw.vacuum_A, draw.between(0.93, 1.07))
    layers = layers_of(slab)
    for outer, sign in ((layers[0], -1), (layers[-1], 1)):
        slab.positions[outer, 2] += sign * draw.between(-0.2, 0.1)
    return slab


def _rattled_slab(face: Face, draw: Draw) -> Atoms:
    return rattled(face.slab(draw.vacuum_A, draw.between(0.95, 1.05)), draw.of(AMPLITUDES_A), draw)


def _place_A(slab: Atoms, site: str, draw: Draw) -> np.ndarray:
    """(2,) where an adatom sits above the slab."""
    top, below = (layer[0] for layer in reversed(layers_of(slab)[-2:]))
    corner, sides = slab.positions[top, :2], slab.cell.array[:2, :2]
    nearest = sides[np.linalg.norm(sides, axis=1).argmin()]
    return {
        "top": corner,
        "bridge": corner + nearest / 2,
        "hollow_above": slab.positions[below, :2],
        "hollow": 2 * corner - slab.positions[below, :2],
        "any": draw.rng.random(2) @ sides,
    }[site]


def _with_adatom(slab: Atoms, place_A: np.ndarray, distance_A: float) -> Atoms:
    """An atom above `place_A` (2,), `distance_A` from the nearest atom."""
    images = [i * slab.cell[0] + j * slab.cell[1] for i in range(-2, 3) for j in range(-2, 3)]
    atoms = np.concatenate([slab.positions + image for image in images])
    aside = ((atoms[:, :2] - place_A) ** 2).sum(axis=1)
    near = aside < distance_A**2
    height = (atoms[near, 2] + np.sqrt(distance_A**2 - aside[near])).max()
    slab.append("Ru")
    slab.positions[-1] = (*place_A, height)
    return slab


def _adatom(what: tuple[Face, str], draw: Draw) -> Atoms:
    face, site = what
    slab = face.slab(draw.vacuum_A + ADATOM_A[1], draw.between(0.97, 1.03))
    slab = _with_adatom(slab, _place_A(slab, site, draw), draw.between(*ADATOM_A))
    slab.info["site"] = site
    slab.wrap()
    return rattled(slab, draw.of((0.02, 0.06, 0.12)), draw)


def _vacancy(face: Face, draw: Draw) -> Atoms:
    slab = face.slab(draw.vacuum_A, draw.between(0.97, 1.03))
    del slab[layers_of(slab)[-1][0]]
    return rattled(slab, draw.of((0.02, 0.06, 0.12)), draw)


def _step(face: Face, draw: Draw) -> Atoms:
    """Half of the top layer is taken away, so that a step leads up and one down."""
    slab = face.slab(draw.vacuum_A, draw.between(0.97, 1.03))
    top = layers_of(slab)[-1]
    order = top[np.argsort(slab.get_scaled_positions()[top, 0])]
    del slab[order[: len(order) // 2]]
    return rattled(slab, draw.of((0.02, 0.06, 0.12)), draw)


def _slab_kinds(name: str, face: str, faces: tuple[Face, ...], counts: tuple[int, int]) -> tuple[Kind, Kind]:
    cases = tuple(one.case() for one in faces)
    return (
        Kind(name, f"slabs of {face}", counts[0], cases, _clean, "slab"),
        Kind(f"{name}_rattle", f"rattled slabs of {face}", counts[1], cases, _rattled_slab, "slab"),
    )


SLABS = (
    *_slab_kinds("slab0001", "hcp (0001)", BASAL, (12, 18)),
    *_slab_kinds("slab1010", "hcp (10-10)", PRISM, (6, 9)),
    *_slab_kinds("slab1120", "hcp (11-20)", PRISM2, (6, 9)),
    *_slab_kinds("slab1011", "hcp (10-11)", PYRAMID, (4, 6)),
    *_slab_kinds("slab_other", "fcc (111), (100), (110) and bcc (110), (100), (111)", OTHER, (11, 22)),
    Kind("slab_wide_rattle", "rattled hcp (0001), two and four atoms a layer", 9, tuple(f.case() for f in WIDE),
         _rattled_slab, "slab"),
    Kind("slab_adatom", "an atom on hcp (0001), (10-10) and fcc (100): hollow, bridge, top, anywhere", 20,
         tuple(face.case(1, site) for face in ROUGH for site in (SITES if face in WIDE else SITES[2:])),
         _adatom, "slab"),
    Kind("slab_vac", "an atom missing in a surface", 10, tuple(face.case(-1) for face in ROUGH), _vacancy, "slab"),
    Kind("slab_step", "a surface with a step up and down", 9, tuple(face.case(-2) for face in STEPPED), _step, "slab"),
)  # fmt: skip
