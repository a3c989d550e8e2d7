"""What a source distribution holds and what is built from it, and how the package introduces itself."""

from __future__ import annotations

import inspect
import os
import platform
import pydoc
import re
import shutil
import subprocess
import sys
import tarfile
import time
import venv
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import ru_calc
from ru_calc import kernels
from ru_calc.lammps.build import sources_digest

ROOT = Path(__file__).parent.parent
TESTED_EXTRAS = ("compare", "phonons", "test")
VERSION = re.search(r"^version = (\S+)$", (ROOT / "setup.cfg").read_text(), flags=re.MULTILINE)[1]
INSTALLED = [path for path in sys.path if path.endswith("site-packages")]


def run(*command: object, cwd: Path, **environment: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=os.environ | environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def script(path: Path, *lines: str) -> str:
    """A program of the shell, as a name of a compiler."""
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o755)
    return str(path)


def test_the_oldest_constraints_are_the_lower_bounds() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    extras = settings["options.extras_require"]
    stated = "\n".join([settings["options"]["install_requires"], *(extras[name] for name in TESTED_EXTRAS)])
    bounds = {
        requirement.name: Version(part.version)
        for requirement in map(Requirement, filter(None, stated.splitlines()))
        for part in requirement.specifier if part.operator == ">="
    }  # fmt: skip
    lines = (ROOT / ".ci" / "constraints-oldest.txt").read_text().splitlines()
    oldest = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert {name: Version(version) for name, version in oldest.items()} == bounds


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of this tree, made in a copy of it without what is compiled."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("sdist")
    for name in ("ru_calc", "models", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    run(sys.executable, "-c", f"from setuptools import build_meta as b; b.build_sdist({str(out)!r})", cwd=tree)
    (file,) = out.iterdir()
    assert file.name == f"ru_calc-{VERSION}.tar.gz"
    return file


@pytest.fixture
def unpacked(sdist: Path, tmp_path: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / f"ru_calc-{VERSION}"


def install(sdist: Path, folder: Path, compiler: str) -> tuple[Path, str]:
    """The interpreter of a new environment with the distribution and our dependencies, and what pip said."""
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    others = folder / "dependencies"  # without this package: an installation in front of another finds its modules
    others.mkdir()
    for path in (path for place in reversed(INSTALLED) for path in Path(place).iterdir()):
        if "ru_calc" not in path.name and not (others / path.name).exists():
            (others / path.name).symlink_to(path)
    (packages / "dependencies.pth").write_text(str(others))
    said = run(
        sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", "--no-build-isolation",
        "--no-cache-dir", "--no-compile", sdist, cwd=folder, CXX=compiler,
    )  # fmt: skip
    return python, said


def test_an_installation_from_the_sdist_has_the_compiled_engine(sdist: Path, tmp_path: Path) -> None:
    """Only the module for any processor is compiled, without optimisation: this is about files, not speed."""
    compiler = os.environ.get("CXX", "c++")
    quick = script(tmp_path / "c++", 'case "$*" in *-march=*) exit 1;; esac', f'exec {compiler} "$@" -O0')
    python, said = install(sdist, tmp_path, quick)
    assert f"Successfully installed ru-calc-{VERSION}\n" in said
    assert run(python, "-m", "ru_calc", "--version", cwd=tmp_path) == f"ru-calc {VERSION}, compiled engine: base\n"
    code = "from ru_calc import open_model; print(open_model().engine)"
    assert run(python, "-W", "error", "-c", code, cwd=tmp_path) == "compiled\n"
    code = "from ru_calc.lammps.build import sources_digest; print(sources_digest())"
    assert run(python, "-c", code, cwd=tmp_path) == f"{sources_digest()}\n", "all that the plugin is compiled from"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere there is one instruction set")
@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump")
@pytest.mark.parametrize(("name", "registers"), [("base", set()), ("avx2", {"ymm"}), ("avx512", {"ymm", "zmm"})])
def test_a_wheel_runs_on_other_machines_for_each_module_keeps_to_its_instruction_set(
    name: str, registers: set[str]
) -> None:
    module = kernels.available().get(name)
    if module is None:
        pytest.skip("not built, or not for this processor")
    code = run("objdump", "-d", "--no-show-raw-insn", module.__file__, cwd=ROOT)
    assert {word for word in ("ymm", "zmm") if f"%{word}" in code} == registers


def test_an_installation_without_a_compiler_says_so_in_its_version(sdist: Path, tmp_path: Path) -> None:
    python, said = install(sdist, tmp_path, "false")
    assert f"Successfully installed ru-calc-{VERSION}+noengine\n" in said
    told = run(python, "-m", "ru_calc", "--version", cwd=tmp_path)
    assert told.startswith(f"ru-calc {VERSION}+noengine, compiled engine: none (install a C++20 compiler")


def test_the_sdist_holds_every_source_that_is_included(unpacked: Path) -> None:
    waiting = list((unpacked / "ru_calc" / "kernels" / "src").glob("**/*.cpp"))
    assert len(waiting) == 3
    seen = set()
    while waiting:
        file = waiting.pop()
        seen.add(file)
        waiting += {(file.parent / name).resolve() for name in re.findall(r'#include "(.*)"', file.read_text())} - seen
    assert len(seen) > 10


def test_the_sdist_holds_no_tests(unpacked: Path) -> None:
    assert list((unpacked / "ru_calc").glob("**/*.py")) and not (unpacked / "tests").exists()


def test_an_edited_header_rebuilds_every_module(unpacked: Path, tmp_path: Path) -> None:
    """By a compiler that only makes empty files of the names it was given."""
    log = tmp_path / "log"
    empty = script(
        tmp_path / "c++", f'echo "$@" >> {log}', 'while [ $# -gt 0 ]; do [ "$1" = -o ] && : > "$2"; shift; done'
    )

    def linked() -> int:
        log.write_text("")
        run(sys.executable, "-c", "import setuptools; setuptools.setup()", "build_ext", cwd=unpacked, CXX=empty)
        return log.read_text().count(" -shared ")

    assert [linked(), linked()] == [3, 0]
    header = next((unpacked / "ru_calc" / "kernels" / "src").glob("**/*.hpp"))
    os.utime(header, (time.time() + 10, time.time() + 10))
    assert linked() == 3


def test_links_of_the_description_work_outside_the_repository(unpacked: Path) -> None:
    text = (unpacked / "PKG-INFO").read_text()
    assert "](http" in text and not re.search(r"\]\((?!http)", text)


def test_a_source_tree_that_is_not_installed_knows_its_version(unpacked: Path) -> None:
    code = "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]; import ru_calc"
    assert run(sys.executable, "-c", f"{code}; print(ru_calc.__version__)", cwd=unpacked) == f"{VERSION}\n"


def test_the_version_names_the_engine() -> None:
    told = run(sys.executable, "-m", "ru_calc", "--version", cwd=ROOT)
    assert told == f"ru-calc {ru_calc.__version__}, compiled engine: {next(iter(kernels.available()))}\n"


def test_tab_completes_commands_and_options() -> None:
    def complete(words: str) -> list[str]:
        count = str(len(words.split(" ")) - 1)
        code = "from ru_calc.cli import main; main(prog_name='ru-calc')"
        ask = {"_RU_CALC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
        return run(sys.executable, "-c", code, cwd=ROOT, **ask).split()

    assert complete("ru-calc be") == ["plain,bench"]
    assert complete("ru-calc relax --fm") == ["plain,--fmax-eV-per-A"]


def test_public_names_are_there_and_their_help_shows_the_arguments() -> None:
    assert {"open_model", "RuSchNet", "RuCalculator", "load_model", "model_names"} <= set(dir(ru_calc))
    text = pydoc.plain(pydoc.render_doc(ru_calc.RuSchNet))
    for name in inspect.signature(ru_calc.RuSchNet).parameters:
        assert re.search(rf"^ \|          {name}: ", text, flags=re.MULTILINE), name
    with pytest.raises(AttributeError, match="its public names are RuCalcError, RuCalculator"):
        _ = ru_calc.Nonesuch
