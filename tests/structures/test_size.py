"""Sizes beyond the memory are refused before anything is allocated."""

from __future__ import annotations

import resource
import tracemalloc

import pytest
from ase.io import write
from click.testing import CliRunner
from forked import ended, forked

from ru_calc.cli import main
from ru_calc.errors import SettingsError
from ru_calc.structures import size
from ru_calc.structures.build import build_structure
from ru_calc.studies.bench import BenchSettings

MANY = 10**11
LARGE = [
    ("hcp", {"n_atoms": MANY}),
    ("hcp", {"n_atoms": 10**400}),
    ("fcc", {"repeat": (10**4, 10**4, 10**4)}),
    ("slab", {"layers": MANY}),
    ("fcc111", {"repeat": (10**5, 10**6, 1)}),
    ("sphere", {"n_atoms": MANY}),
    ("sphere", {"diameter_A": 2e4}),
    ("sphere", {"diameter_A": 1e300}),
    ("sphere", {"a_A": 1e-9}),
]


@pytest.mark.parametrize(("name", "options"), LARGE)
def test_a_structure_beyond_the_memory_is_refused_with_an_estimate(name, options, monkeypatch):
    monkeypatch.setattr(size, "memory_bytes", lambda: 1e9)
    tracemalloc.start()
    with pytest.raises(SettingsError, match=r" is .*: about .* atoms need .* GB of memory, but there are 1 GB"):
        build_structure(name, **options)
    assert tracemalloc.get_traced_memory()[1] < 1e7
    tracemalloc.stop()


def test_what_fits_is_built_and_the_limit_is_where_it_is_said_to_be(monkeypatch):
    monkeypatch.setattr(size, "memory_bytes", lambda: 200 * 1000.0)
    assert len(build_structure("hcp", n_atoms=960)) <= 1000
    size.check_size(1000, "x is 1000")
    with pytest.raises(SettingsError, match=r"x is 1001: about 1e\+03 atoms need 0.0002 GB .* at most 1e\+03 atoms"):
        size.check_size(1001, "x is 1001")


def test_a_limit_on_the_process_counts():
    def limited() -> int:
        resource.setrlimit(resource.RLIMIT_AS, (2**33, resource.RLIM_INFINITY))
        return size.memory_bytes() != min(2**33, size.os.sysconf("SC_PHYS_PAGES") * size.os.sysconf("SC_PAGE_SIZE"))

    assert ended(forked(limited)) == 0
    assert size.memory_bytes() > 1e8


@pytest.mark.parametrize(
    "arguments",
    [
        ["md", "hcp", "--n-atoms", MANY],
        ["md", "slab", "--layers", 10**9],
        ["md", "cell.extxyz", "--repeat", 10**4, 10**4, 10**4],
        ["relax", "sphere", "--diameter-A", 1e6],
        ["bench", "--atoms", 64, "--atoms", MANY],
    ],
)
def test_commands_refuse_in_one_line(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    write("cell.extxyz", build_structure("hcp"))
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 1 and result.stdout == ""
    assert len(result.stderr.splitlines()) == 1 and "GB of memory" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["cell.extxyz"]


def test_a_benchmark_refuses_before_the_first_size():
    with pytest.raises(SettingsError, match=f"atoms is {MANY}"):
        BenchSettings(atoms=(64, MANY))
