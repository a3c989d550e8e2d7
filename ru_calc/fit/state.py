"""The training state: everything that the next epoch depends on, in one file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ru_calc.errors import RuCalcError
from ru_calc.files import content_sha256, whole_file
from ru_calc.fit.settings import FitSettings

HASH = "sha256"
# What reading a file of any content may raise; a torch type that numpy lacks is a TypeError.
DAMAGE = (OSError, SafetensorError, TypeError, KeyError, ValueError, AttributeError, OverflowError, RecursionError)


@dataclass
class Progress:
    """How far a fit is: epochs done, the best of them, and a row of the log for each."""

    epoch: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)

    def finished(self, settings: FitSettings) -> bool:
        """All epochs are done, or the validation loss has not improved for `patience` epochs."""
        return self.epoch >= settings.epochs or self.epoch - self.best_epoch >= settings.patience

    def add(self, row: dict[str, float], keep: str = "best") -> bool:
        """Counts an epoch with these entries of the log; True if it is the one to keep so far.

        Args:
            keep: `best` keeps the epoch with the lowest `validation_loss`, `last` every epoch.
        """
        self.epoch += 1
        self.rows.append({"epoch": self.epoch, **row})
        improved = keep == "last" or row["validation_loss"] < self.best_loss
        if improved:
            self.best_loss, self.best_epoch = row["validation_loss"], self.epoch
        return improved


@dataclass(frozen=True)
class State:
    """The contents of a state file: `progress`, and tensors by name."""

    path: Path
    progress: Progress
    tensors: Mapping[str, Tensor]

    def weights(self, part: str) -> dict[str, Tensor]:
        """The state dictionary that was written under a name."""
        head = f"{part}."
        return {name.removeprefix(head): value for name, value in self.tensors.items() if name.startswith(head)}

    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        """Sets the moments and gradients of an optimiser's parameters.

        Raises:
            RuCalcError: the state is of other parameters.
        """
        parameters = trained(optimizer)
        for name, value in self.weights("optimizer").items():
            number, key = name.split(".")
            k = int(number)
            if k >= len(parameters) or (key != "step" and value.shape != parameters[k].shape):
                raise RuCalcError(f"{self.path} was written by another version of ru-calc; start the fit anew")
            optimizer.state[parameters[k]][key] = value.cpu() if key == "step" else value
        for name, value in self.weights("gradient").items():
            parameter = parameters[int(name)]
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.copy_(value)  # in place: other gradients may be views of it


def trained(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """All parameters of an optimiser, in its order."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def write_state(
    path: Path, progress: Progress, weights: Mapping[str, Mapping[str, Tensor]], optimizer: torch.optim.Optimizer
) -> None:
    """Writes progress, weights, and the optimiser's moments and gradients.

    Args:
        weights: state dictionaries by name, other than `optimizer` and `gradient`.
    """
    tensors = {f"{part}.{name}": value for part, of_part in weights.items() for name, value in of_part.items()}
    for k, parameter in enumerate(trained(optimizer)):
        # A pathway whose loss still has weight 0 has neither moments nor a gradient.
        moments = optimizer.state.get(parameter, {})
        tensors |= {f"optimizer.{k}.{name}": value for name, value in moments.items()}
        if parameter.grad is not None:
            tensors[f"gradient.{k}"] = parameter.grad
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    record = {**progress.__dict__, HASH: _hash(progress.__dict__, tensors)}
    with whole_file(path) as temporary:
        save_file(tensors, str(temporary), metadata={"progress": json.dumps(record)})


def _hash(progress: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    return content_sha256(progress, {name: value.numpy() for name, value in tensors.items()})


def read_state(path: Path, device: torch.device | str = "cpu") -> State:
    """The state that `write_state` wrote.

    Raises:
        RuCalcError: the file is missing or damaged.
    """
    try:
        with safe_open(str(path), "pt") as file:
            record = json.loads(file.metadata()["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        written = record.pop(HASH, None)  # states of earlier versions have none
        if written not in (None, _hash(record, tensors)):
            raise ValueError("its content does not have the hash that is in it")
        progress = Progress(**record)
        return State(path, progress, {name: value.to(device) for name, value in tensors.items()})
    except DAMAGE as problem:
        raise RuCalcError(
            f"{path} is not a whole training state ({str(problem)[:200]}); copy it again, or start the fit anew in "
            "another folder"
        ) from problem
