"""Imports go down only, also inside functions, and never in a circle; help and `import ru_calc` stay light."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import ru_calc

ROOT = Path(ru_calc.__file__).parent
# A module may import what is in a lower row.  Within a folder any order without a circle is right.
ROWS = """
    cli
    studies studies.paper lammps
    studies.compare studies.sweep studies.learn checks
    studies.bench sample relax
    label md properties
    fit calculator doctor
    modelfiles
    evaluate engine
    potentials
    dataset kernels predictor
    structures tables reports
    files devices
    units errors
"""
LEVELS = {name: height for height, row in enumerate(reversed(ROWS.split("\n"))) for name in row.split()}
MODULES = sorted(path for path in ROOT.rglob("*.py") if "models" not in path.parts and path.parent != ROOT)
MODULES += [path for path in ROOT.glob("*.py") if not path.stem.startswith("__")]


def imports(source: str) -> set[str]:
    """What a source imports of the package anywhere in its syntax tree: `fit.trainer`, or `fit` for its __init__."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ru_calc."):
            inside = node.module.removeprefix("ru_calc.")
            found |= {f"{inside}.{a.name}" if is_module(f"{inside}.{a.name}") else inside for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "ru_calc":
            found |= {a.name for a in node.names if is_module(a.name)}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("ru_calc.") for a in node.names if a.name.startswith("ru_calc.")}
    return found


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def place(name: str) -> str:
    """The folder or file of `ROWS` that a module belongs to."""
    top, *below = name.split(".")
    return next((inner for inner in LEVELS if [top, *below[:1]] == inner.split(".")), top)


def upward(source: str, own: str) -> set[str]:
    """Imports from another file or folder of the same row or above."""
    return {name for name in {*map(place, imports(source))} - {own} if LEVELS[name] >= LEVELS[own]}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_below(path: Path) -> None:
    own = place(name_of(path))
    assert own in LEVELS, f"give {own} a level"
    assert not upward(path.read_text(), own)


def order(graph: dict[str, set[str]]) -> list[str]:
    return list(TopologicalSorter(graph).static_order())


def test_imports_run_in_no_circle() -> None:
    assert len(order({name_of(path): imports(path.read_text()) - {name_of(path)} for path in MODULES})) > 100


def test_an_upward_import_and_a_circle_are_found() -> None:
    assert upward("def f():\n    from ru_calc.calculator import RuSchNet\n", "fit") == {"calculator"}
    assert upward("import ru_calc.potentials.derivatives\n", "tables") == {"potentials"}
    assert upward("from ru_calc import cli\n", "md") == {"cli"}
    assert upward("from ru_calc.studies.paper.run import run_paper\n", "studies.bench") == {"studies.paper"}
    assert upward("from ru_calc.studies.bench.run import run_bench\n", "studies.sweep") == set()
    assert imports("from ru_calc.fit.run import run_fit\nfrom ru_calc.fit import run") == {"fit.run"}
    with pytest.raises(CycleError):
        order(
            {"fit.run": imports("from ru_calc.fit.batches import x"), "fit.batches": imports("import ru_calc.fit.run")}
        )


def test_few_things_stand_directly_in_the_package() -> None:
    assert len([path for path in ROOT.iterdir() if path.name not in ("__pycache__", "models")]) <= 29


@pytest.mark.parametrize(
    "code", ["import ru_calc", "from ru_calc.cli import main; main(['--help'], standalone_mode=False)"]
)
def test_torch_is_not_imported_for(code: str) -> None:
    check = f"{code}\nimport sys; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)
