"""Compiles the plugin for the LAMMPS that is installed, once, into the user's cache."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

import ru_calc
from ru_calc import kernels
from ru_calc.errors import SettingsError
from ru_calc.files import cache_folder, make_folder, owned_file, whole_file
from ru_calc.lammps.installed import Headers, Lammps, find_lammps

PLUGIN = "ruschnetplugin.so"  # LAMMPS loads what is named *plugin.so
SOURCES = Path(__file__).parent / "src"
PASSES = Path(kernels.__file__).parent / "src"
# As the engine's own modules are built, so that it is as fast; a test holds the two against each other.
FLAGS = ("-std=c++20", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-pthread", "-g0")
WAIT_S = 600.0  # for another process that compiles it
PROCESSORS = {"avx512": ("-march=x86-64-v4",), "avx2": ("-march=x86-64-v3",), "base": ()}


def plugin_folder(lammps: Lammps, instruction_set: str) -> Path:
    """Where the plugin for this LAMMPS is, or will be: another version of either has another folder."""
    digest = hashlib.sha256(repr((lammps.version, lammps.headers, instruction_set, sources_digest())).encode())
    return cache_folder() / "lammps" / f"{ru_calc.__version__}-{instruction_set}-{digest.hexdigest()[:12]}"


def built_plugin(instruction_set: str = "", again: bool = False) -> Path:
    """The plugin, compiled if it is not there.

    Args:
        instruction_set: `avx512`, `avx2` or `base` of the processors that it will run on; empty for this one.
        again: compiles it also if it is there.

    Raises:
        SettingsError: no LAMMPS or no C++ compiler that can build it.
        OutputError: the cache cannot be written.
    """
    lammps, chosen = find_lammps(), instruction_set or fastest()
    plugin = plugin_folder(lammps, chosen) / PLUGIN
    if again or not plugin.is_file():
        make_folder(plugin.parent)
        with owned_file(plugin, WAIT_S):
            if again or not plugin.is_file():  # by another process meanwhile
                with whole_file(plugin) as temporary:
                    compile_plugin(temporary, lammps.headers, FLAGS + PROCESSORS[chosen])
    return plugin


def build_for(headers: Headers, plugin: Path, instruction_set: str = "") -> None:
    """Compiles the plugin for another LAMMPS into a file, for `plugin load`; see `built_plugin`."""
    with whole_file(plugin) as temporary:
        compile_plugin(temporary, headers, FLAGS + PROCESSORS[instruction_set or fastest()])


def fastest() -> str:
    """The instruction set with the widest vectors that this processor has; `base` without compiled kernels."""
    return next(iter(kernels.available()), "base")


def compile_plugin(plugin: Path, headers: Headers, flags: tuple[str, ...], sources: Path = SOURCES) -> None:
    """Compiles the plugin into a file.

    Raises:
        SettingsError: there is no compiler, or it fails.
    """
    include = [word for folder in headers.folders for word in ("-isystem", folder)]
    command = [
        *compiler(), *flags, "-shared", "-fPIC", f"-DLAMMPS_{headers.integers}",
        f'-DRUSCHNET_LAMMPS="{headers.version}"', "-I", PASSES, *include, *sorted(sources.glob("*.cpp")), "-o", plugin,
    ]  # fmt: skip
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise SettingsError(f"the plugin for LAMMPS could not be compiled by {command[0]}: {first}")


def compiler() -> list[str]:
    """The C++ compiler of $CXX, or g++."""
    words = shlex.split(os.environ.get("CXX", "g++"))
    if not words or shutil.which(words[0]) is None:
        raise SettingsError(
            f"the plugin for LAMMPS needs a C++20 compiler, and there is no {words[0] if words else 'name in CXX'}; "
            "install g++, or name one in CXX"
        )
    return words


@cache
def sources_digest() -> str:
    """A digest of all that the plugin is compiled from."""
    digest = hashlib.sha256(repr((FLAGS, PROCESSORS)).encode())
    for path in sorted([*SOURCES.glob("*pp"), *PASSES.glob("common/*.hpp"), *PASSES.glob("inference/*.hpp")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()
