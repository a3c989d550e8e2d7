"""Run as a script: compiles the Triton kernels of the operators for an H100, on a machine that has none.

Prints the name of each kernel that became machine code.
"""

from __future__ import annotations

import torch
from ahead_of_time import DONE, compile_instead
from triton.runtime.jit import JITFunction

from ru_calc.operators import triton_forms
from ru_calc.operators.geometry import PairGeometry, RadialGrid

if __name__ == "__main__":
    JITFunction.__getitem__ = compile_instead
    first, second = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2])
    grid = RadialGrid(5.0, 1.0, 64)
    for dtype, width in ((torch.float32, 128), (torch.float64, 20)):
        g = PairGeometry.of(3, first, second, torch.eye(3, dtype=dtype), grid, triton_forms)
        h, table = torch.ones(3, width, dtype=dtype), torch.ones(grid.rows, width, dtype=dtype)
        triton_forms.edge(g, 1, h, h, table)
        for e in (None, h[:, 0].contiguous()):
            triton_forms.node(g, 1, e, h, table)
            triton_forms.table(g, 1, e, h, h)
    print(*sorted(DONE))
