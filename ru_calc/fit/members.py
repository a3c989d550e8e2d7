"""Fits of several members: where each is kept, and what it is fitted with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ru_calc.fit.settings import FitSettings


def member_folder(folder: Path, k: int) -> Path:
    """Run folder of member `k`, counted from 1."""
    return folder / f"member_{k}"


def settings_of(settings: FitSettings, k: int) -> FitSettings:
    """Settings of member `k`, counted from 1: its own seed, and the common split or its own fold."""
    fold = k - 1 if settings.folds else 0
    return replace(settings, seed=settings.seed + k - 1, split_seed=settings.seed_of_split, fold=fold)
