"""Where a network runs and how long it takes: devices, engines, precisions, threads of torch.

On a machine that does other work, CPU time (of all threads of the process) is reproducible and wall time is not.  Both
are measured here; only CPU time is reported as a speed.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ru_calc.errors import SettingsError

DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
ENGINES = ("auto", "compiled", "reference")
DTYPES = ("float32", "float64")
CHOICES = {"dtype": DTYPES, "engine": ENGINES}
DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg")


def chosen(name: str, value: str, choices: Iterable[str]) -> str:
    """The value of a setting, if it is one of `choices`; else raises a `SettingsError` that names them."""
    if value not in choices:
        raise SettingsError(f"{name} is {value!r}; choose one of {', '.join(choices)}")
    return value


def resolve_device(device: str) -> str:
    """`auto` as `cuda` if there is a CUDA device and `cpu` if not; other names unchanged.

    Raises:
        SettingsError: not one of auto, cpu, cuda, cuda:N, or a CUDA device that this machine lacks.
    """
    if not DEVICE.fullmatch(str(device)):
        raise SettingsError(f"device is {device!r}; choose one of auto, cpu, cuda, cuda:N")
    if device == "auto":
        return "cuda" if _cuda_devices() else "cpu"
    if device != "cpu" and int(device.partition(":")[2] or 0) >= _cuda_devices():
        found = _cuda_devices()
        raise SettingsError(f"device is {device!r}, but this machine has {found} CUDA devices; use cpu or auto")
    return device


_is_child = False


def _after_fork() -> None:
    global _is_child
    _is_child = "torch" in sys.modules
    if _is_child:
        sys.modules["torch"].set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Sets the number of CPU threads of torch inside the block and restores it afterwards; None changes nothing.

    In a child of a fork it is one: the threads of the parent, for which torch would wait, are not there.
    """
    if _is_child:
        threads = 1
    if threads is None:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cuda_devices() -> int:
    # Importing torch takes seconds, so it is only asked if there is a driver.
    if os.name == "posix" and not any(Path(path).exists() for path in DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


@dataclass(frozen=True)
class Times:
    """Seconds that some work took.

    Attributes:
        cpu_s: CPU time of the process.
        wall_s: wall-clock time.
        system_s: the part of the CPU time spent in the operating system, mostly on allocating memory.
    """

    cpu_s: float
    wall_s: float
    system_s: float = 0.0


def timed(work: Callable[[], object]) -> Times:
    """Runs `work` and returns the time it took."""
    system, wall, cpu = _system_s(), time.perf_counter(), time.process_time()
    work()
    return Times(time.process_time() - cpu, time.perf_counter() - wall, _system_s() - system)


def _system_s() -> float:
    try:
        import resource
    except ImportError:  # not a Unix
        return os.times().system
    return resource.getrusage(resource.RUSAGE_SELF).ru_stime
