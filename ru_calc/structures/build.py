"""Ruthenium structures by name: crystals, slabs, particles, a lone atom, a dimer.

Default lattice constants are those of the shipped model's labels at zero temperature and pressure (PBE-like; hcp
a = 2.726, c = 4.289 Å), not the measured ones (2.706 and 4.282 Å at 293 K).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import ase.build
import numpy as np
from ase import Atoms

from ru_calc.errors import SettingsError, require
from ru_calc.structures.lattices import crystal, hexagonal_cell
from ru_calc.structures.planes import layers_of
from ru_calc.structures.size import check_size

HCP_A_A, HCP_C_A = 2.726, 4.289
# Minima of energy against volume in the labels of the shipped model.
FCC_A_A, BCC_A_A, SC_A_A, DIAMOND_A_A, A15_A_A = 3.815, 3.059, 2.532, 5.453, 4.843
DHCP_A_A, DHCP_C_A = 2.724, 8.597
DIMER_A = 2.1
TERMINATIONS = ("near", "far")


@dataclass(frozen=True)
class BuildOptions:
    """Options of named structures; None takes the default of the structure.

    Attributes:
        a_A, c_A: lattice constants in Å.
        repeat: cells along each lattice vector; the third is 1 for a slab.
        n_atoms: approximate number of atoms; the nearest compact choice is made.
        primitive: the primitive cell instead of the orthorhombic or cubic one.
        layers: atomic layers of a slab; of hcp10m10, pairs of planes.
        termination: of an hcp10m10 slab, whose atomic planes are alternately near and far: whether the two outermost
            ones are `near` (the lower energy by far) or `far`.
        vacuum_A: vacuum in Å between a slab and its image along z.
        diameter_A: of a particle, in Å.
        distance_A: of a dimer, in Å.
        vacancy_fraction: fraction of the atoms to remove at random.
        seed: of that choice.
    """

    a_A: float | None = None
    c_A: float | None = None
    repeat: tuple[int, int, int] | None = None
    n_atoms: int | None = None
    primitive: bool | None = None
    layers: int | None = None
    termination: str | None = None
    vacuum_A: float | None = None
    diameter_A: float | None = None
    distance_A: float | None = None
    vacancy_fraction: float | None = None
    seed: int | None = None


def structure_names() -> list[str]:
    """The names that `build_structure` knows."""
    return list(RECIPES)


def build_structure(name: str, **given: object) -> Atoms:
    """The structure that is called `name`, one of `structure_names()`, with `BuildOptions` by name.

    Raises:
        SettingsError: an unknown name or option, an option that does not apply to the structure or is out of range,
            or two options that both set the size.
    """
    if name not in RECIPES:
        raise SettingsError(f"there is no structure {name!r}; choose one of {', '.join(RECIPES)}")
    known = {field.name for field in fields(BuildOptions)}
    for key in given:
        if key not in known:
            raise SettingsError(f"structures have no option {key!r}; choose from {', '.join(sorted(known))}")
    options = BuildOptions(**given)  # type: ignore[arg-type]
    build, allowed = RECIPES[name]
    _check(name, options, allowed)
    atoms = build(options)
    if options.vacancy_fraction:
        atoms = _with_vacancies(atoms, options.vacancy_fraction, options.seed or 0)
    return atoms


def options_of(name: str) -> frozenset[str]:
    """Names of the options that apply to the structure `name`."""
    return RECIPES[name][1]


def _check(name: str, options: BuildOptions, allowed: frozenset[str]) -> None:
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    given = {key: value for key, value in given.items() if value is not None}
    for key, value in given.items():
        if key not in allowed:
            takes = ", ".join(sorted(allowed)) or "none"
            raise SettingsError(f"{key} does not apply to the structure {name!r}; its options are: {takes}")
        if key.endswith("_A"):
            require(math.isfinite(value) and value > 0, key, value, "a positive length in Å")
    for key in ("n_atoms", "layers"):
        require(given.get(key, 1) >= 1, key, given.get(key), "1 or more")
    check_size(given.get("n_atoms", 0), f"n_atoms is {given.get('n_atoms')}")
    repeat, vacancies = given.get("repeat", (1, 1, 1)), given.get("vacancy_fraction", 0)
    require(len(repeat) == 3 and min(repeat) >= 1, "repeat", repeat, "three numbers, each 1 or more")
    require(0 <= vacancies < 1, "vacancy_fraction", vacancies, "at least 0 and below 1")
    end = given.get("termination", "near")
    require(end in TERMINATIONS, "termination", repr(end), f"one of {', '.join(TERMINATIONS)}")
    for one, other in (("repeat", "n_atoms"), ("diameter_A", "n_atoms")):
        if one in given and other in given:
            raise SettingsError(f"{one} and {other} both set the size: give one of them")


def _with_vacancies(atoms: Atoms, fraction: float, seed: int) -> Atoms:
    count = round(fraction * len(atoms))
    if not 0 < count < len(atoms):
        raise SettingsError(
            f"vacancy_fraction is {fraction}, which removes {count} of {len(atoms)} atoms; choose it or the number of "
            "atoms larger"
        )
    taken = np.random.default_rng(seed).choice(len(atoms), size=count, replace=False)
    return atoms[np.setdiff1d(np.arange(len(atoms)), taken)]


def compact_repeat(cell: np.ndarray, atoms_per_cell: int, n_atoms: int, directions: int = 3) -> tuple[int, int, int]:
    """Repeats along the first `directions` lattice vectors that give about `n_atoms` atoms and similar edges."""
    lengths = np.linalg.norm(cell, axis=1)[:directions]
    edge = (n_atoms / atoms_per_cell * lengths.prod()) ** (1 / directions)

    def candidates() -> Iterator[tuple[float, tuple[int, ...]]]:
        low = [max(1, math.floor(edge / length)) for length in lengths]
        for repeat in itertools.product(*((n, n + 1) for n in low)):
            edges = lengths * repeat
            size = abs(math.log(atoms_per_cell * math.prod(repeat) / n_atoms))
            yield size + 0.5 * math.log(edges.max() / edges.min()), repeat

    best = min(candidates())[1]
    return (best + (1,) * (3 - directions))[:3]  # type: ignore[return-value]


def _repeated(cell: Atoms, options: BuildOptions) -> Atoms:
    if options.n_atoms is not None:
        return cell.repeat(compact_repeat(cell.cell.array, len(cell), options.n_atoms))
    repeat = options.repeat or (1, 1, 1)
    check_size(len(cell) * math.prod(repeat), f"repeat is {repeat}")
    return cell.repeat(repeat)


def _orthorhombic(name: str, a_A: float, c_A: float) -> Atoms:
    atoms = ase.build.make_supercell(crystal(name, hexagonal_cell(a_A, c_A)), [[1, 0, 0], [1, 2, 0], [0, 0, 1]])
    atoms.wrap(eps=1e-9)
    return atoms


def _hexagonal(name: str, default_a_A: float, default_c_A: float) -> Callable[[BuildOptions], Atoms]:
    def build(options: BuildOptions) -> Atoms:
        a_A, c_A = options.a_A or default_a_A, options.c_A or default_c_A
        primitive = crystal(name, hexagonal_cell(a_A, c_A))
        return _repeated(primitive if options.primitive else _orthorhombic(name, a_A, c_A), options)

    return build


def _cubic(structure: str, default_a_A: float) -> Callable[[BuildOptions], Atoms]:
    def build(options: BuildOptions) -> Atoms:
        cubic = structure != "sc" and not options.primitive
        cell = ase.build.bulk("Ru", structure, a=options.a_A or default_a_A, cubic=cubic)
        return _repeated(cell, options)

    return build


def _a15(options: BuildOptions) -> Atoms:
    return _repeated(crystal("a15", (options.a_A or A15_A_A) * np.eye(3)), options)


def _slab(surface: str) -> Callable[[BuildOptions], Atoms]:
    def build(options: BuildOptions) -> Atoms:
        repeat, layers = options.repeat or (4, 4, 1), options.layers or 7
        require(repeat[2] == 1, "repeat", repeat, "1 in the third place: layers set the thickness of a slab")
        check_size(repeat[0] * repeat[1] * layers, f"layers is {layers} and repeat {repeat}")
        if options.n_atoms is not None:
            one = _surface_cell(surface, (1, 2, layers), options)
            pairs = compact_repeat(one.cell.array, len(one), options.n_atoms, directions=2)
            repeat = (pairs[0], 2 * pairs[1], 1)
        require(repeat[1] % 2 == 0, "repeat", repeat, "even in the second place: the cell of a slab is rectangular")
        atoms = _surface_cell(surface, (repeat[0], repeat[1], layers), options)
        # ASE leaves the third vector empty; half of the vacuum goes on either side.
        atoms.center(vacuum=(15.0 if options.vacuum_A is None else options.vacuum_A) / 2, axis=2)
        atoms.pbc = (True, True, False)
        return Atoms("Ru" * len(atoms), positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)

    return build


def _surface_cell(surface: str, size: tuple[int, int, int], options: BuildOptions) -> Atoms:
    if surface == "fcc111":
        return ase.build.fcc111("Ru", size, a=options.a_A or FCC_A_A, orthogonal=True)
    lattice = {"a": options.a_A or HCP_A_A, "c": options.c_A or HCP_C_A, "orthogonal": True}
    if surface == "hcp0001":
        return ase.build.hcp0001("Ru", size, **lattice)
    if options.termination == "far":
        return ase.build.hcp10m10("Ru", size, **lattice)
    # ASE's layers are two planes each, of which the outermost lies far from the next one.
    slab = ase.build.hcp10m10("Ru", (*size[:2], size[2] + 1), **lattice)
    return slab[np.concatenate(layers_of(slab)[1:-1])]


def _sphere(options: BuildOptions) -> Atoms:
    """A ball of hcp around an atom; with `n_atoms`, the complete shells closest to that number."""
    cell = _orthorhombic("hcp", options.a_A or HCP_A_A, options.c_A or HCP_C_A)
    diameter = options.diameter_A or 16.0
    if options.n_atoms is not None:
        diameter = 2 * (3 * options.n_atoms * cell.get_volume() / len(cell) / (4 * math.pi)) ** (1 / 3)
    box = math.prod(diameter / float(length) for length in cell.cell.lengths()) * len(cell)
    check_size(box, f"diameter_A is {diameter:g}")
    # The margin lets the number of atoms be met whatever shells the sphere cuts.
    half = [math.ceil((diameter / 2 + 6.0) / length) for length in cell.cell.lengths()]
    positions = cell.repeat([2 * n for n in half]).positions - np.array(half) @ cell.cell.array
    radii = np.linalg.norm(positions, axis=1)
    if options.n_atoms is not None:
        ordered = np.sort(radii)
        ends = np.flatnonzero(np.diff(ordered) > 1e-6) + 1
        kept = ordered[: ends[np.abs(ends - options.n_atoms).argmin()]].max()
    else:
        kept = diameter / 2
    positions = positions[radii <= kept + 1e-9]
    return Atoms("Ru" * len(positions), positions=positions - positions.mean(axis=0))


def _atom(options: BuildOptions) -> Atoms:
    return Atoms("Ru")


def _dimer(options: BuildOptions) -> Atoms:
    distance = options.distance_A or DIMER_A
    return Atoms("Ru2", positions=[(0, 0, -distance / 2), (0, 0, distance / 2)])


_SIZE = {"repeat", "n_atoms", "vacancy_fraction", "seed"}
_CUBIC = frozenset(_SIZE | {"a_A", "primitive"})
_HEXAGONAL = frozenset(_CUBIC | {"c_A"})
_SLAB = frozenset(_SIZE | {"a_A", "c_A", "layers", "vacuum_A"})

RECIPES: dict[str, tuple[Callable[[BuildOptions], Atoms], frozenset[str]]] = {
    "hcp": (_hexagonal("hcp", HCP_A_A, HCP_C_A), _HEXAGONAL),
    "fcc": (_cubic("fcc", FCC_A_A), _CUBIC),
    "bcc": (_cubic("bcc", BCC_A_A), _CUBIC),
    "dhcp": (_hexagonal("dhcp", DHCP_A_A, DHCP_C_A), _HEXAGONAL),
    "a15": (_a15, _CUBIC - {"primitive"}),
    "sc": (_cubic("sc", SC_A_A), _CUBIC - {"primitive"}),
    "diamond": (_cubic("diamond", DIAMOND_A_A), _CUBIC),
    "slab": (_slab("hcp0001"), _SLAB),
    "hcp0001": (_slab("hcp0001"), _SLAB),
    "hcp10m10": (_slab("hcp10m10"), _SLAB | {"termination"}),
    "fcc111": (_slab("fcc111"), _SLAB - {"c_A"}),
    "sphere": (_sphere, frozenset({"a_A", "c_A", "diameter_A", "n_atoms", "vacancy_fraction", "seed"})),
    "atom": (_atom, frozenset()),
    "dimer": (_dimer, frozenset({"distance_A"})),
}
