"""Engines on a device, of the models in parity.py."""

from __future__ import annotations

from parity import BOUNDS, intervals, settings, weights

from ru_calc.engine.device import DeviceEngine


def device_engine(name: str, dtype: str = "float64", **changes: object) -> DeviceEngine:
    """A new engine of a model, on the CPU unless told; `changes` are further arguments of it."""
    if "intervals" not in changes:
        changes["intervals"] = intervals(name, BOUNDS[dtype])
    return DeviceEngine(settings(name), weights(name), dtype, **{"device": "cpu", **changes})
