"""Sums over pairs and pointwise functions that training needs, differentiable twice and fast; see `functions`."""

from __future__ import annotations

from types import ModuleType

import torch

from ru_calc import kernels


def forms_for(device: torch.device | str) -> ModuleType | None:
    """The module that computes the operators on a device; None where there is none: the CPU without compiled code.

    `triton_forms` have been checked by interpreter and compiler, not on a device; until then CUDA takes `torch_forms`.
    """
    if torch.device(device).type == "cuda":
        from ru_calc.operators import torch_forms

        return torch_forms
    if kernels.fastest() is None:
        return None
    from ru_calc.operators import compiled

    return compiled
