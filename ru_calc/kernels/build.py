"""How setuptools builds the compiled engine, and what the package says of itself where it cannot be compiled.

Without a C++20 compiler the package installs all the same, as version `…+noengine`, the one thing of a successful build
that pip prints.  Where the compiler takes the source, a module that does not build stops the installation.
"""

from __future__ import annotations

import re
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

from setuptools import Extension
from setuptools.command import build_ext as original_build_ext
from setuptools.command import egg_info as original_egg_info
from setuptools.errors import CompileError

HEADERS = "ru_calc/kernels/src/**/*.hpp"
INSTALLS = {"bdist_wheel", "dist_info", "editable_wheel"}


def engine_compiles(modules: list[Extension]) -> bool:
    """Whether there is a compiler that takes the module for any processor."""
    base = next(module for module in modules if module.name.endswith("_base"))
    return accepts(*base.sources, arguments=(*base.extra_compile_args, "-fsyntax-only"))


@cache
def accepts(source: str, arguments: tuple[str, ...]) -> bool:
    """Whether there is a compiler that takes a source, with these arguments."""
    from distutils.ccompiler import new_compiler  # setuptools' own, once setuptools has been imported
    from distutils.sysconfig import customize_compiler

    compiler = new_compiler()
    customize_compiler(compiler)
    include = [sysconfig.get_path("include")]
    with tempfile.TemporaryDirectory() as folder:
        try:
            compiler.compile([source], folder, include_dirs=include, extra_postargs=list(arguments))
        except CompileError:
            return False
    return True


class build_ext(original_build_ext.build_ext):
    """Every module depends on every header."""

    extensions: list[Extension]

    def finalize_options(self) -> None:
        super().finalize_options()
        for module in self.extensions:
            module.depends = sorted(map(str, Path().glob(HEADERS)))

    def run(self) -> None:
        if not engine_compiles(self.extensions):
            self.extensions = []
        super().run()


class egg_info(original_egg_info.egg_info):
    """Version and description of what is built, and the files of a source distribution."""

    def finalize_options(self) -> None:
        if INSTALLS & set(self.distribution.commands) and not engine_compiles(self.distribution.ext_modules):
            self.tag_build = "+noengine"
        super().finalize_options()
        metadata = self.distribution.metadata
        metadata.long_description = without_relative_links(metadata.long_description)

    def find_sources(self) -> None:
        super().find_sources()
        self.filelist.prune("tests")  # setuptools takes test_*.py, without what they import


def without_relative_links(markdown: str) -> str:
    """Outside the repository there is nothing at the end of a relative link: its text remains, of an image as well."""
    return re.sub(r"!?\[([^]]*)\]\((?!https?:)[^)]*\)", r"\1", markdown)
