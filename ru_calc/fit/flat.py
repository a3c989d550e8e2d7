"""Many weights as one vector: an optimiser then takes a few steps of arithmetic instead of hundreds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def flatten(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """(m,) all numbers of the parameters, which become views of it, as their gradients become views of its gradient.

    Whoever clears gradients must fill them with zeros, not drop them.
    """
    flat = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    flat.grad = torch.zeros_like(flat)
    for parameter, value, gradient in zip(
        parameters, _views(flat, parameters), _views(flat.grad, parameters), strict=True
    ):
        parameter.data, parameter.grad = value, gradient
    return flat


def _views(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    parts = flat.detach().split([tensor.numel() for tensor in like])
    return [part.view_as(tensor) for part, tensor in zip(parts, like, strict=True)]
