"""`RuSchNet` and `RuCalculator`: the potentials as ASE calculators."""

from __future__ import annotations

import copy
import math
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, TypeVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import (
    CalculationFailed,
    Calculator,
    CalculatorSetupError,
    InputError,
    PropertyNotImplementedError,
    all_changes,
)

from ru_calc.calculator.speed import NeighborStatistics, Throughput, dynamics
from ru_calc.devices import CHOICES, chosen, resolve_device, timed
from ru_calc.errors import DataError, ModelError, RuCalcError, require
from ru_calc.structures import Structures
from ru_calc.structures.build import build_structure
from ru_calc.structures.neighbors import SAME_PLACE_A, NeighborPairs, VerletList, closest_of
from ru_calc.tables.uncertainty import no_uncertainty

if TYPE_CHECKING:
    from ru_calc.predictor import Predictor

# A crystal is the lowest in energy; the highest energies of the shipped data are 4.8 eV above an isolated atom.
BELOW_CRYSTAL_EV, ABOVE_ATOM_EV = 0.5, 5.0


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Method = Callable[Concatenate["RuCalculator", Arguments], Result]


def _one_at_a_time(method: Method[Arguments, Result]) -> Method[Arguments, Result]:
    """Lets other threads that use the same calculator wait: results and neighbours are those of one structure."""

    @wraps(method)
    def alone(self: RuCalculator, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with self._lock:
            return method(self, *args, **kwargs)

    return alone


class RuCalculator(Calculator):
    """Energies, forces and stress of ruthenium by a model of any family.

    Energies are in eV, forces in eV/Å, stress in eV/Å³ (tension positive, xx yy zz yz xz xy), all float64.  `energy`
    equals `free_energy` and is the sum of `energies`.  `stress` is the sum of `stresses`, in which half of each pair
    goes to either end: they give local pressures, but not the heat flux of a many-body potential.

    A calculation gives what is asked for now and what was asked for at the previous configuration.  Dynamics at
    constant pressure thus takes one evaluation per step for forces and stress, and at constant volume no stress is
    computed.

    Several Python threads may share a calculator: they take turns.  Calculators of their own let them run at once.
    """

    name = "ru_calculator"
    families: ClassVar[tuple[str, ...] | None] = None  # accepted; None accepts all
    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", "stresses"]  # noqa: RUF012 (ASE's type)
    default_parameters = {  # noqa: RUF012 (ASE's type)
        "model": "default", "device": "auto", "dtype": "float32", "skin_A": 1.0, "threads": 1, "engine": "auto",
        "non_conservative": False,
    }  # fmt: skip
    ignored_changes = {"initial_charges", "initial_magmoms"}  # noqa: RUF012 (ASE's type)

    _predictor: Any
    _neighbors: Any
    _header: dict[str, Any]
    _engine: str  # in use, once the model is read
    _uncertainty: np.ndarray | None  # beside the results, which hold ASE's properties only
    _usual_eV_per_atom: tuple[float, float]
    _warned: bool  # of an energy beyond these
    _asked: frozenset[str]  # properties asked for at this configuration
    _expected: frozenset[str]  # and at the previous one

    def __init__(
        self,
        model: str | Path = "default",
        device: str = "auto",
        dtype: str = "float32",
        skin_A: float = 1.0,
        threads: int = 1,
        engine: str = "auto",
        non_conservative: bool = False,
    ) -> None:
        """Checks the arguments; the model is read at the first calculation.

        Args:
            model: name of a shipped model, or path of a model file.
            device: "auto" (a CUDA device if there is one), "cpu", "cuda" or "cuda:N".
            dtype: precision of the network, "float32" or "float64"; positions and sums are always float64.
            skin_A: extra range of the neighbour list in Å; results do not depend on it.
            threads: CPU threads of a calculation; more than one pays for thousands of atoms on an idle machine.
            engine: "compiled" (from tables, in C++ on the CPU and in torch on a CUDA device), "reference" (the network
                itself in torch, many times slower), or "auto": compiled where it can serve, else the reference.
            non_conservative: accept a file whose forces are not derivatives of its energy.

        Raises:
            CalculatorSetupError: a model, device, dtype or engine that does not exist, or a model that is damaged,
                not conservative, or not of this calculator's families.
            InputError: an unknown argument of `set`; in a calculation, no atoms, atoms that are not of this model, two
                that are less than 0.1 Å apart, or so many in so little space that there would be too many pairs.
            CalculationFailed: a result that is not finite.
            PropertyNotImplementedError: stress of a cell without a volume.
        """
        self._lock = threading.RLock()
        self._forget_model()
        super().__init__(
            model=model, device=device, dtype=dtype, skin_A=skin_A, threads=threads, engine=engine,
            non_conservative=bool(non_conservative),
        )  # fmt: skip

    @_one_at_a_time
    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Changes arguments of the constructor; the model is read again at the next calculation.

        Raises:
            InputError: an unknown argument.
            CalculatorSetupError: see the constructor.
        """
        unknown = sorted(kwargs.keys() - self.default_parameters.keys())
        if unknown:
            raise InputError(f"unknown parameter {unknown[0]!r}; choose from {', '.join(self.default_parameters)}")
        checked = {key: _checked(key, value) for key, value in kwargs.items()}
        if "model" in checked:
            self._check_family(checked["model"])
        changed = super().set(**checked)
        if changed:
            self._forget_model()
            self.reset()
        return changed

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """Changed arguments and the model as plain values, enough to make an equal calculator."""
        return {"model": self.parameters["model"], **super().todict(skip_default)}

    def __repr__(self) -> str:
        """Model, device in use, dtype, and other arguments that differ from their default."""
        shown = {"model", "device", "dtype", *super().todict()}
        used = {name: value for name, value in self.parameters.items() if name in shown}
        if used["device"] == "auto":
            used["device"] = resolve_device("auto")
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in used.items())})"

    @property
    def predictor(self) -> Predictor:
        """The predictor behind the calculator, for many frames at once."""
        return self._load()._predictor

    @property
    def header(self) -> dict[str, Any]:
        """Header of the model file: data, seed, metrics, level of theory."""
        return self._load()._header

    @property
    def cutoff_A(self) -> float:
        """Range of the interaction in Å."""
        return self._load()._predictor.cutoff_A

    @property
    def engine(self) -> str:
        """The engine in use, `compiled` or `reference`."""
        return self._load()._engine

    @property
    def neighbor_statistics(self) -> NeighborStatistics:
        """Calls and rebuilds of the neighbour list since the model was read."""
        if self._neighbors is None:
            return NeighborStatistics(0, 0)
        return NeighborStatistics(self._neighbors.calls, max(0, self._neighbors.rebuilds - 1))

    @property
    def has_uncertainty(self) -> bool:
        """Whether the model knows the error of its forces, see `uncertainty`."""
        return "uncertainty" in self.header

    @property
    def uncertainty_threshold_eV_per_A(self) -> float:
        """The uncertainty of an atom four times as far from the mean of the training atoms as these are.

        Raises:
            PropertyNotImplementedError: the model has no uncertainty.
        """
        self._require_uncertainty()
        return float(self.header["uncertainty"]["threshold_eV_per_A"])

    @_one_at_a_time
    def uncertainty(self, atoms: Atoms | None = None) -> np.ndarray:
        """(n,) expected error of each component of the forces in eV/Å, by atom; see `ru_calc.tables.uncertainty`.

        Where it is asked for at every configuration, as in dynamics, it comes with the forces at 1 to 2 % of their
        cost; once known, it costs nothing.

        Args:
            atoms: those of the last calculation if None.

        Raises:
            PropertyNotImplementedError: the model has no uncertainty.
            InputError: there are no atoms, or not of ruthenium.
        """
        self._require_uncertainty()
        atoms = self.atoms if atoms is None else atoms
        changes = list(all_changes) if atoms is None else self.check_state(atoms)
        if changes:
            self.reset()
        if changes or self._uncertainty is None:
            self.calculate(atoms, ["uncertainty"], changes)
        self._asked = self._asked.union(["uncertainty"])
        assert self._uncertainty is not None
        return self._uncertainty.copy()

    def _require_uncertainty(self) -> None:
        if not self.has_uncertainty:
            raise PropertyNotImplementedError(str(no_uncertainty(self.header["family"])))

    def throughput(self, atoms: Atoms, steps: int = 50) -> Throughput:
        """Speed of molecular dynamics with ASE's `VelocityVerlet` and this calculator.

        Works on copies of atoms and calculator.  The first step, which makes the neighbour list, is not timed.  Atoms
        at rest get velocities of 300 K; the time step is 2 fs.

        Raises:
            InputError: `steps` below 1, or atoms that cannot be used.
        """
        if not (isinstance(steps, (int, np.integer)) and steps >= 1):
            raise InputError(f"steps is {steps!r}; it must be a whole number, 1 or more")
        _structures(atoms)
        self._load()
        moved = atoms.copy()
        moved.calc = copy.deepcopy(self)
        mover = dynamics(moved)
        return Throughput.of(timed(lambda: mover.run(steps)), len(moved), int(steps), self._engine)

    @_one_at_a_time
    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Called by ASE for properties that are not known yet; results go to `self.results`."""
        atoms = self.atoms if atoms is None else atoms
        structures = _structures(atoms)
        if {"stress", "stresses"} & {*properties} and np.isnan(structures.volumes[0]):
            raise PropertyNotImplementedError(
                f"stress needs a volume and the cell is {structures.cells[0].tolist()} Å; set three independent "
                "lattice vectors (atoms.set_cell), or ask for energy and forces only"
            )
        self._load()
        super().calculate(atoms, properties, system_changes)
        if system_changes:
            self.results: dict[str, Any] = {}
            self._uncertainty = None
            self._expected, self._asked = self._asked, frozenset()
        want = _wanted({*properties} | (self._expected - self.results.keys()), structures)
        if self._uncertainty is not None:
            want = tuple(name for name in want if name != "uncertainty")
        structures, pairs = self._neighbors_of(structures)
        prediction = self._predictor.predict(structures, pairs, want)
        _check_finite(prediction, structures, pairs, self.parameters["dtype"])
        self._check_energy(float(prediction.energy[0]) / structures.n_atoms)
        self.results.update(_results(prediction))
        if prediction.uncertainty is not None:
            self._uncertainty = prediction.uncertainty
        self._asked = self._asked.union(properties)

    def _check_energy(self, eV_per_atom: float) -> None:
        low, high = self._usual_eV_per_atom
        if self._warned or low <= eV_per_atom <= high:
            return
        self._warned = True
        warnings.warn(
            f"the energy is {eV_per_atom:.5g} eV per atom, which is unphysical: with this model {low:.4g} is "
            f"{BELOW_CRYSTAL_EV} eV below the crystal, and {high:.4g} is {ABOVE_ATOM_EV:g} eV above a lone atom; it "
            "has not been trained on such atoms (further ones are not reported)",
            stacklevel=2,
        )

    def _neighbors_of(self, structures: Structures) -> tuple[Structures, NeighborPairs]:
        with _input_errors():
            followed, pairs = self._neighbors.update(structures)
        pair = self._neighbors.closer_than(followed, SAME_PLACE_A)
        if pair:
            raise InputError(
                f"{pair}, less than {SAME_PLACE_A} Å: remove atoms that are there twice, or check the cell (in "
                "dynamics, take a shorter time step)"
            )
        return followed, pairs

    @_one_at_a_time
    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """A property of these atoms, from the results if they are up to date."""
        value = super().get_property(name, atoms, allow_calculation)
        self._asked = self._asked.union([name])
        return value

    def get_spin_polarized(self) -> bool:
        """False: the model has no spins."""
        return False

    def __getstate__(self) -> dict[str, Any]:
        # Weights are read again from the model file, and the neighbour list is quickly rebuilt.
        state = {**self.__dict__, "_predictor": None, "_neighbors": None, "_header": {}}
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.RLock())

    def __deepcopy__(self, memo: dict[int, Any]) -> RuCalculator:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        if self._predictor is not None:  # the weights, which never change, are shared; the neighbours are not
            twin._predictor, twin._header = copy.copy(self._predictor), self._header
            twin._neighbors = VerletList(self._predictor.cutoff_A, self.parameters["skin_A"])
        return twin

    def _check_family(self, model: str) -> None:
        from ru_calc.modelfiles.read import read_header

        if self.families is None:
            return
        try:
            family = read_header(model)["family"]
        except (ModelError, KeyError):  # reported when the model is read
            return
        if family not in self.families:
            raise CalculatorSetupError(f"model {model} is of family {family}; use RuCalculator(model={model!r})")

    def _forget_model(self) -> None:
        self._predictor = self._neighbors = self._uncertainty = None
        self._header = {}
        self._asked = self._expected = frozenset()
        self._usual_eV_per_atom = (-math.inf, math.inf)
        self._warned = False

    @_one_at_a_time
    def _load(self) -> RuCalculator:
        if self._predictor is not None:
            return self
        from ru_calc.modelfiles import model_names, open_model

        asked = self.parameters
        name = asked["model"]
        with _setup_errors():
            opened = open_model(name, asked["dtype"], asked["device"], asked["threads"], asked["engine"])
        if not (opened.header["conservative"] or asked["non_conservative"] or name in model_names()):
            raise CalculatorSetupError(
                f"the forces of model {name} are not the derivatives of its energy, so dynamics would not conserve "
                "energy; choose another model, or pass non_conservative=True"
            )
        self._predictor, self._header, self._engine = opened.predictor, opened.header, opened.engine
        self._neighbors = VerletList(self._predictor.cutoff_A, asked["skin_A"])
        self._usual_eV_per_atom = _usual_energies(opened.predictor)
        return self


class RuSchNet(RuCalculator):
    """`RuCalculator` for models of the SchNet family: the default model, `fast`, `plain`, or a fit of your own."""

    name = "ru_schnet"
    families = ("schnet", "paper")


def _usual_energies(predictor: Predictor) -> tuple[float, float]:
    """Lowest and highest physical energy in eV per atom: about those of the hcp crystal and of a lone atom."""
    crystal = build_structure("hcp", primitive=True)
    found = predictor.predict([crystal, build_structure("atom")], None, ("energy",)).energy
    ends = float(found[0]) / len(crystal), float(found[1])
    return min(ends) - BELOW_CRYSTAL_EV, max(ends) + ABOVE_ATOM_EV


def _wanted(properties: Collection[str], structures: Structures) -> tuple[str, ...]:
    """What to ask of the predictor: stress gives forces, and anything gives energies, at no extra cost."""
    wanted = ["energy", "energies"]
    stress = [name for name in ("stress", "stresses") if name in properties]
    if "forces" in properties or stress:
        wanted.append("forces")
    if np.isfinite(structures.volumes[0]):
        wanted += stress
    return (*wanted, "uncertainty") if "uncertainty" in properties else tuple(wanted)


def _structures(atoms: Atoms | None) -> Structures:
    if atoms is None or len(atoms) == 0:
        raise InputError("there are no atoms; give at least one ruthenium atom")
    with _input_errors():
        return Structures.from_atoms(atoms)


def _results(prediction: Any) -> dict[str, Any]:
    energy = float(prediction.energy[0])
    results = {"energy": energy, "free_energy": energy, "energies": prediction.energies}
    if prediction.forces is not None:
        results["forces"] = prediction.forces
    if prediction.stress is not None:
        results["stress"] = prediction.stress[0]
    if prediction.stresses is not None:
        results["stresses"] = prediction.stresses
    return results


def _check_finite(prediction: Any, structures: Structures, pairs: NeighborPairs, dtype: str) -> None:
    for name, one in (("energies", "energy"), ("forces", "force")):
        values = getattr(prediction, name)
        if values is None or np.isfinite(values).all():
            continue
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        atom, nearest, wider = bad[0], "", "" if dtype == "float64" else ", or use dtype='float64'"
        closest = closest_of(structures, pairs)
        if closest:  # non-finite values spread; they came from the closest pair
            atom, other = closest[:2] if closest.first in bad else closest[1::-1]
            nearest = f", and atom {other} is {closest.distance_A:.3g} Å away"
        raise CalculationFailed(
            f"the {one} of atom {atom} is {values[atom]}{nearest}; move overlapping atoms apart (or take a shorter "
            f"time step){wider}"
        )
    if prediction.stress is not None and not np.isfinite(prediction.stress).all():
        raise CalculationFailed(
            f"stress is {prediction.stress[0]} eV/Å³; check the cell {structures.cells[0].tolist()}"
        )


@contextmanager
def _input_errors() -> Iterator[None]:
    """Turns what is wrong with atoms into ASE's `InputError`."""
    try:
        yield
    except DataError as problem:
        raise InputError(str(problem)) from problem


@contextmanager
def _setup_errors() -> Iterator[None]:
    """Turns errors of this package into ASE's `CalculatorSetupError`."""
    try:
        yield
    except RuCalcError as problem:
        raise CalculatorSetupError(str(problem)) from problem


def _checked(name: str, value: Any) -> Any:
    """The value of an argument in its plain form, if it is one that can be used."""
    from ru_calc.modelfiles import model_names, model_path

    with _setup_errors():
        if name == "model":
            path = model_path(value)
            return str(value) if str(value) in model_names() else str(path.resolve())
        if name == "device":
            return str(value if value == "auto" else resolve_device(value))  # auto is resolved when the model is read
        if name in CHOICES:
            return chosen(name, value, CHOICES[name])
        if name == "skin_A":
            fine = isinstance(value, (int, float, np.number)) and bool(0.0 <= value < np.inf)
            require(fine, name, repr(value), "a length in Å, 0 or more (1.0 is a good choice)")
            return float(value)
        if name == "threads":
            fine = isinstance(value, (int, np.integer)) and bool(value >= 1)
            require(fine, name, repr(value), "a whole number, 1 or more")
            return int(value)
    return bool(value)
