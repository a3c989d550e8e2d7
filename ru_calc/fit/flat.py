"""Many weights as one vector: an optimiser then needs a few operations instead of hundreds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def flatten(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """Joins parameters into one vector (m,); they and their gradients become views of it and of its gradient.

    Gradients must then be cleared by filling them with zeros, not by dropping them.
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
