"""The compiled module with a switch at every sum: one of them at a time may take its next term with the wrong sign."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sysconfig
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]  # sources are not installed
SOURCES = ROOT / "ru_calc" / "kernels" / "src"
FILES = ("common/splines.hpp", "common/harmonics.hpp", "training/*.hpp")
COMPILER = shutil.which("g++")
HEADERS = Path(sysconfig.get_paths()["include"])
CAN_BUILD = COMPILER is not None and (HEADERS / "Python.h").is_file()
# A sum that is added to, or written back with something added; not the steps of loops.
SUM = re.compile(r" \+= (?!(?:Most \* L|[\w.]+)[,)])|read<T, V>\([^()]*\) \+ (?=\w)")
SWITCH = """
extern "C" { inline int ru_flipped = -1; int* ru_flipped_place() { return &ru_flipped; } }
struct RuSign { bool wrong; };
inline RuSign ru_sign(int place) { return {place == ru_flipped}; }
template <class X> inline X operator*(RuSign sign, const X& x) { return sign.wrong ? -x : x; }
"""


class FlippedSigns:
    """Builds the module in a folder.

    Attributes:
        module: as compiled; every sum is right.
        places: file and line of each sum.
    """

    def __init__(self, folder: Path) -> None:
        self.places: list[str] = []
        shutil.copytree(SOURCES, folder, dirs_exist_ok=True)
        for path in sorted(path for pattern in FILES for path in folder.glob(pattern)):
            lines = path.read_text().split("\n")
            made = [self._switched(f"{path.name}:{k + 1}: {line.strip()}", line) for k, line in enumerate(lines)]
            path.write_text("\n".join(made))
        first = folder / "common" / "simd.hpp"
        first.write_text(first.read_text() + SWITCH)
        library = folder / "_kernel_base.so"
        command = [str(COMPILER), *flags(), "-O0", "-shared", "-fPIC", "-I", HEADERS, "kernel_base.cpp", "-o", library]
        subprocess.run(command, cwd=folder, check=True)
        spec = spec_from_file_location("flipped._kernel_base", library)
        assert spec and spec.loader
        self.module: ModuleType = module_from_spec(spec)
        spec.loader.exec_module(self.module)
        place = ctypes.CDLL(str(library)).ru_flipped_place
        place.restype = ctypes.POINTER(ctypes.c_int)
        self._place = place()

    def flip(self, place: int) -> None:
        """Makes the sum at `places[place]` a wrong one, or with −1 none."""
        self._place[0] = place

    def _switched(self, label: str, line: str) -> str:
        code = line.split("//")[0]
        if code.lstrip().startswith(("//", "#")) or "?" in code:
            return line

        def switch(match: re.Match) -> str:
            self.places.append(label)
            return f"{match.group(0)}ru_sign({len(self.places) - 1}) * "

        return SUM.sub(switch, code)


def flags() -> list[str]:
    """Of the compiler, for the module that runs everywhere."""
    project = tomllib.loads((SOURCES.parents[2] / "pyproject.toml").read_text())
    modules = project["tool"]["setuptools"]["ext-modules"]
    return next(module["extra-compile-args"] for module in modules if module["name"].endswith("_kernel_base"))
