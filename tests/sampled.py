"""A few frames of every static kind, made once for all tests."""

from functools import cache

from ru_calc.sample import Sample, SampleSettings, sample

EACH = 4


@cache
def every_kind() -> Sample:
    return sample(SampleSettings(kinds={"*": EACH}, max_atoms=17))
