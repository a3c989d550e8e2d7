"""Imports go to a lower level only, also inside functions; help and `import ru_calc` stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ru_calc

ROOT = Path(ru_calc.__file__).parent
LEVELS = {
    "cli": 10, "compare": 9, "sweep": 9, "ase_plugin": 8, "md": 8, "relax": 8, "properties": 8, "card": 8, "bench": 8,
    "evaluate": 7, "calculator": 7, "fit": 7, "open_model": 6, "engine": 5, "storage": 5, "derivatives": 4,
    "potentials": 3, "operators": 2, "predictor": 2, "modelfile": 2, "summary": 2, "convert": 2,
    "dataset": 1, "neighbors": 1,
    "metrics": 1, "plots": 1, "build": 1, "speed": 1, "harmonics": 1, "kernels": 1, "splines": 1,
    "devices": 1, "constants": 1, "units": 0, "errors": 0, "structures": 0, "files": 0, "markdown": 0,
}  # fmt: skip


def imports(source: str) -> set[str]:
    """Top modules of the package that a source imports anywhere in its syntax tree."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ru_calc":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("ru_calc.")}
    return found


def upward(source: str, module: str) -> set[str]:
    # Level 0 may use level 0: errors and units are the ground.
    own = LEVELS[module]
    return {name for name in imports(source) - {module} if LEVELS[name] > own or (own and LEVELS[name] == own)}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if "models" not in path.parts and path.parent != ROOT / "models")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_from_below(path):
    module = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if module == "__init__":
        return
    assert module in LEVELS, f"give {module} a level"
    assert not upward(path.read_text(), module)


def test_an_upward_import_is_found():
    assert upward("def f():\n    from ru_calc.calculator import RuSchNet\n", "fit") == {"calculator"}
    assert upward("import ru_calc.derivatives\n", "potentials") == {"derivatives"}
    assert upward("from ru_calc import cli\n", "md") == {"cli"}


@pytest.mark.parametrize(
    "code", ["import ru_calc", "from ru_calc.cli import main; main(['--help'], standalone_mode=False)"]
)
def test_torch_is_not_imported_for(code):
    check = f"{code}\nimport sys; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, capture_output=True)
