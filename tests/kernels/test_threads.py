"""Threads of the engine and the memory that they work in: whatever fails there ends as an exception in Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from flipped_signs import CAN_BUILD, COMPILER, SOURCES

from ru_calc import kernels

PROGRAM = """
#include <atomic>
#include <cstdio>
#include <new>
#include "inference/threads.hpp"

// In n threads, thread `bad` of which has no memory before the second of three meetings; how many rounds were done.
int rounds(int n, int bad) {
    std::atomic<int> done = 0;
    try {
        ru::inference::in_threads(n, [&](int t, std::barrier<>& barrier) {
            for (int round = 0; round < 3; ++round) {
                if (t == bad && round == 1) throw std::bad_alloc();
                barrier.arrive_and_wait();
                ++done;
            }
        });
    } catch (const std::bad_alloc&) {
        return -done;
    }
    return done;
}

int main() {
    std::printf("%d %d %d %d", rounds(3, -1), rounds(3, 0), rounds(3, 2), rounds(1, 0));
}
"""


@pytest.mark.skipif(not CAN_BUILD, reason="there is no compiler")
def test_an_exception_in_any_thread_reaches_the_caller_and_no_thread_waits_for_ever(tmp_path: Path) -> None:
    (tmp_path / "program.cpp").write_text(PROGRAM)
    program = tmp_path / "program"
    command = [str(COMPILER), "-std=c++20", "-pthread", "-I", str(SOURCES), "program.cpp", "-o", str(program)]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "9 -7 -7 -1"


LIMITED = """
import gc, resource, sys
import numpy as np
from ru_calc import RuSchNet
from ru_calc.structures.build import build_structure

calc = RuSchNet(threads=int(sys.argv[1]))
small, large = build_structure("hcp", n_atoms=60), build_structure("hcp", n_atoms=4000)
right = calc.get_potential_energy(small)
ends = []
for more_MB in range(0, 200, 40):
    calc.reset()
    calc._neighbors.__init__(calc._neighbors.cutoff_A, 1.0)
    gc.collect()
    in_use = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + more_MB * 2**20, resource.RLIM_INFINITY))
    try:
        calc.get_forces(large)
        ends.append("done")
    except MemoryError:
        ends.append("MemoryError")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert abs(calc.get_potential_energy(small) - right) < 1e-4, more_MB
print(*ends)
"""


@pytest.mark.skipif(sys.platform != "linux" or kernels.fastest() is None, reason="needs Linux and the engine")
@pytest.mark.parametrize("threads", [1, 3])
def test_where_memory_ends_there_is_a_memory_error_and_the_engine_stays_usable(threads: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(threads)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-500:]
    ends = done.stdout.split()
    assert ends[0] == "MemoryError" and len(ends) == 5
