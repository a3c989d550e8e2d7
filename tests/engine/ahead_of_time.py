"""Run as a script: compiles every Triton kernel of two small models for an H100, on a machine that has none.

The interpreter runs a kernel as Python and accepts what the compiler refuses, so both are needed.  Prints the name of
each kernel that became machine code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
from ase.build import bulk
from device_parity import device_engine
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction, mangle_type

from ru_calc.engine import device

TARGET = GPUTarget("cuda", 90, 32)
DONE: set[str] = set()


def compile_instead(kernel: JITFunction, grid: Any) -> Callable[..., None]:
    """In place of a launch."""

    def launch(*arguments: Any, **constants: Any) -> None:
        options = {name: constants.pop(name) for name in ("num_warps", "enable_fp_fusion")}
        place = {name: k for k, name in enumerate(kernel.arg_names)}
        signature = {kernel.arg_names[k]: mangle_type(argument) for k, argument in enumerate(arguments)}
        tensors = [k for k, argument in enumerate(arguments) if isinstance(argument, torch.Tensor)]
        source = ASTSource(
            kernel,
            signature | dict.fromkeys(constants, "constexpr"),
            {(place[name],): value for name, value in constants.items()},
            {(k,): [["tt.divisibility", 16]] for k in tensors},
        )
        assert triton.compile(source, target=TARGET, options=options).asm["cubin"]
        DONE.add(kernel.fn.__name__)

    return launch


if __name__ == "__main__":
    JITFunction.__getitem__ = compile_instead
    device.chosen_kernels = lambda kernels, where: "triton"
    for model in ("angular, no norm", "no angles"):
        device_engine(model, "float32", intervals=64).predict(bulk("Ru", "fcc", a=3.8))
    print(*sorted(DONE))
