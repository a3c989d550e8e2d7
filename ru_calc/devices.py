"""Where and how a network runs: names of devices, engines and precisions, which device is there, threads of torch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ru_calc.errors import SettingsError

DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
ENGINES = ("auto", "compiled", "reference")
DTYPES = ("float32", "float64")
DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/dxg")


def resolve_device(device: str) -> str:
    """`auto` as `cuda` where there is a CUDA device and `cpu` where not; others as they are.

    Raises:
        SettingsError: not one of auto, cpu, cuda, cuda:N, or a CUDA device that is not there.
    """
    if not DEVICE.fullmatch(str(device)):
        raise SettingsError(f"device is {device!r}; choose one of auto, cpu, cuda, cuda:N")
    if device == "auto":
        return "cuda" if _cuda_devices() else "cpu"
    if device != "cpu" and int(device.partition(":")[2] or 0) >= _cuda_devices():
        found = _cuda_devices()
        raise SettingsError(f"device is {device!r} and {found} CUDA devices are there; use cpu or auto")
    return device


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Sets the CPU threads of torch while it is open, and puts their number back; None leaves it alone."""
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
    # torch takes seconds to load: it is only asked where the system has a driver.
    if os.name == "posix" and not any(Path(path).exists() for path in DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
