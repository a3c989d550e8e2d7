"""Runs in torch-sim, whose names and arguments changed after version 0.3, the last for Python 3.11."""

from __future__ import annotations

import torch
import torch_sim as ts
from torch_sim.models.interface import ModelInterface

OLD = not hasattr(ts, "nve_init")


def constant_energy(
    model: ModelInterface, state: ts.SimState, momenta: torch.Tensor, dt: float, steps: int
) -> ts.SimState:
    """The state after steps of velocity Verlet; `dt` in ASE's unit."""
    dt, kT = torch.tensor(dt, dtype=model.dtype), torch.tensor(0.0, dtype=model.dtype)
    if OLD:
        init, step = ts.integrators.nve(model, dt=dt, kT=kT)
        state = init(state)
    else:
        state = ts.nve_init(state, model, kT=kT)
    state.momenta = momenta.clone()
    for _ in range(steps):
        state = step(state) if OLD else ts.nve_step(state, model, dt=dt)
    return state


def fire(model: ModelInterface, state: ts.SimState, steps: int) -> ts.SimState:
    """The state after steps of FIRE in fixed cells."""
    if OLD:
        init, step = ts.optimizers.fire(model)
        state = init(state)
    else:
        state = ts.fire_init(state, model)
    for _ in range(steps):
        state = step(state) if OLD else ts.fire_step(state, model)
    return state


def relaxed_with_cells(model: ModelInterface, state: ts.SimState, steps: int, **options: object) -> ts.SimState:
    """Relaxed by `optimize`, which takes systems away as they are done."""
    kind = (
        {"optimizer": ts.frechet_cell_fire}
        if OLD
        else {"optimizer": ts.Optimizer.fire, "init_kwargs": {"cell_filter": ts.CellFilter.frechet}}
    )
    done = ts.generate_force_convergence_fn(force_tol=1e-3, include_cell_forces=True)
    return ts.optimize(state, model, max_steps=steps, convergence_fn=done, **kind, **options)
