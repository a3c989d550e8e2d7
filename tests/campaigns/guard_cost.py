"""What the guards of the calculator cost, beside a step of molecular dynamics: at most 1 % of its CPU time.

Each guard is timed alone, as the difference of two whole steps would drown in the noise of a busy machine:

    python tests/campaigns/guard_cost.py --atoms 64 448 4032
"""

from __future__ import annotations

import argparse
import sys
import time
import timeit
from collections.abc import Callable

from ase import Atoms
from ase.md.verlet import VelocityVerlet

from ru_calc import RuSchNet
from ru_calc.calculator.speed import dynamics
from ru_calc.structures import Structures, frames
from ru_calc.structures.build import build_structure
from ru_calc.structures.neighbors import SAME_PLACE_A, closest_of

MOST, STEPS = 0.01, 40


def seconds(call: Callable[[], object]) -> float:
    """CPU time of one call, the least of several."""
    timer = timeit.Timer(call, timer=time.process_time)
    number, _ = timer.autorange()
    return min(timer.repeat(5, number)) / number


def turn(calc: RuSchNet) -> None:
    with calc._lock:
        pass


def costs(n_atoms: int) -> tuple[float, dict[str, float]]:
    """CPU time of a step and of each guard in it, in s."""
    atoms: Atoms = build_structure("hcp", n_atoms=n_atoms)
    atoms.calc = calc = RuSchNet()
    mover: VelocityVerlet = dynamics(atoms)
    step = min(timeit.repeat(lambda: mover.run(STEPS), timer=time.process_time, number=1, repeat=3)) / STEPS
    structures, list_ = Structures.from_atoms(atoms), calc._neighbors
    followed, pairs = list_.update(structures)
    rebuilt = calc.neighbor_statistics.rebuilds / calc.neighbor_statistics.calls
    return step, {
        "cell": seconds(lambda: frames._check_cell(atoms, "")),
        "closest pair": seconds(lambda: list_.closer_than(followed, SAME_PLACE_A))
        + rebuilt * seconds(lambda: closest_of(followed, pairs)),
        "energy": seconds(lambda: calc._check_energy(-9.0)),
        "turns of threads": 3 * seconds(lambda: turn(calc)),
    }


def main() -> int:
    """Prints the table; status 1 if the guards of any system cost more."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--atoms", type=int, nargs="+", default=[64, 448, 4032])
    shares = []
    for n_atoms in options.parse_args().atoms:
        step, each = costs(n_atoms)
        shares.append(sum(each.values()) / step)
        parts = ", ".join(f"{name} {1e6 * cost:.1f} µs" for name, cost in each.items())
        print(f"{n_atoms} atoms: a step takes {1e3 * step:.2f} ms, guards {100 * shares[-1]:.2f} % of it ({parts})")
    return int(max(shares) > MOST)


if __name__ == "__main__":
    sys.exit(main())
