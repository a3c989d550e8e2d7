"""Names of devices: which there are, which of them is there, and that torch is not loaded to find out."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from ru_calc import devices
from ru_calc.devices import resolve_device
from ru_calc.errors import SettingsError


@pytest.fixture(params=[0, 2])
def found(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A machine with so many CUDA devices."""
    monkeypatch.setattr(devices, "_cuda_devices", lambda: request.param)
    return request.param


def test_the_cpu_is_always_there(found: int) -> None:
    assert resolve_device("cpu") == "cpu"


def test_auto_is_a_cuda_device_where_there_is_one(found: int) -> None:
    assert resolve_device("auto") == ("cuda" if found else "cpu")


@pytest.mark.parametrize(("device", "needed"), [("cuda", 1), ("cuda:0", 1), ("cuda:1", 2), ("cuda:2", 3)])
def test_a_cuda_device_is_taken_if_it_is_there(device: str, needed: int, found: int) -> None:
    if needed <= found:
        assert resolve_device(device) == device
        return
    with pytest.raises(
        SettingsError, match=f"device is '{device}', but this machine has {found} CUDA devices; use cpu or auto"
    ):
        resolve_device(device)


@pytest.mark.parametrize("device", ["gpu", "", "CPU", "cuda:", "cuda:-1", "cuda:x", "cuda:0 ", "cpu\n", None, 0])
def test_other_names_are_refused_with_those_that_serve(device: object) -> None:
    with pytest.raises(SettingsError, match="choose one of auto, cpu, cuda, cuda:N"):
        resolve_device(device)


def test_without_a_driver_torch_is_not_loaded() -> None:
    code = """
import sys
from ru_calc import devices
devices.DRIVERS = ("/no/such/driver",)
assert devices.resolve_device("auto") == devices.resolve_device("cpu") == "cpu"
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


def test_with_a_driver_torch_counts_the_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(devices, "DRIVERS", (str(tmp_path),))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    for usable in (True, False):
        monkeypatch.setattr("torch.cuda.is_available", lambda usable=usable: usable)
        assert resolve_device("auto") == ("cuda" if usable else "cpu")
    with pytest.raises(SettingsError, match="0 CUDA devices"):
        resolve_device("cuda")


def _add_up(pipe: Connection) -> None:
    import torch

    with devices.torch_threads(2):
        pipe.send(float(torch.ones(3_000_000).sum()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_the_child_of_a_fork_does_not_wait_for_the_threads_of_its_parent() -> None:
    import torch

    with devices.torch_threads(2):
        torch.ones(3_000_000).sum()
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    child = fork.Process(target=_add_up, args=(there,))
    child.start()
    try:
        assert here.poll(60.0) and here.recv() == 3_000_000.0
    finally:
        child.kill()
        child.join()
