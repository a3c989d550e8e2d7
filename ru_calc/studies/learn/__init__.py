"""Rounds of dynamics, labelling and fitting, each of which adds the frames of which the model knows least."""

from ru_calc.studies.learn.run import learn
from ru_calc.studies.learn.settings import LearnSettings

__all__ = ["LearnSettings", "learn"]
