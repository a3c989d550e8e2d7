"""What the campaigns about runs share: small forms of the long commands, each in a folder of its own.

A command is started in a process forked from this one, in which all is imported; a case then takes as long as its work.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from fitted import fit_result

IMPORTED = (
    "torch", "h5py", "matplotlib.backends.backend_agg", "scipy.stats", "rich.progress", "ase.io.extxyz",
    "ase.io.trajectory",
    "ru_calc.cli.md", "ru_calc.md.run", "ru_calc.calculator", "ru_calc.cli.relax", "ru_calc.relax", "ru_calc.cli.fit",
    "ru_calc.fit.committee", "ru_calc.cli.convert", "ru_calc.dataset.convert", "ru_calc.cli.sweep",
    "ru_calc.studies.sweep.run", "ru_calc.cli.compare", "ru_calc.studies.compare.run",
)  # fmt: skip
SMALL = [
    "--set", "model.channels=8", "--set", "model.n_radial=6", "--set", "model.filter_hidden=6", "--set",
    "model.angular_radial=3", "--set", "model.triple=2", "--set", "model.l_max=2", "--set", "model.readout=[4]",
]  # fmt: skip


@dataclass(frozen=True)
class Command:
    """A command that writes `out`, `out.h5` or `out.extxyz`.

    Attributes:
        words: after `ru-calc`.
        on: words of the command that goes on in a folder where it stopped; none if it is complete.
        result: what must be the same as in an unbroken run, by name.
    """

    words: list[str]
    on: Callable[[list[str]], list[str]]
    result: Callable[[], dict[str, object]]


def _md_on(words: list[str]) -> list[str]:
    if Path("out/final.extxyz").exists():
        return []
    return ["md", "--restart", "out"] if Path("out/checkpoint.npz").exists() else [*words, "--overwrite"]


def _relax_on(words: list[str]) -> list[str]:
    return ["relax", "--restart", "out.traj"] if Path("out.traj").exists() else [*words, "--overwrite"]


def _resumed(record: str) -> Callable[[list[str]], list[str]]:
    return lambda words: [*words, "--resume"] if Path("out", record).exists() else words


def _md() -> dict[str, object]:
    return {name: Path("out", name).read_bytes() for name in ("thermo.csv", "md.extxyz", "final.extxyz")}


def _relax() -> dict[str, object]:
    from ase.io.trajectory import Trajectory

    with Trajectory("out.traj") as frames:
        steps = [(atoms.positions.tobytes(), atoms.calc.results["forces"].tobytes()) for atoms in frames]
    return {"out.extxyz": Path("out.extxyz").read_bytes(), "out.traj": steps}


def _sweep() -> dict[str, object]:
    trials = {path.name: fit_result(path) for path in sorted(Path("out/trials").iterdir())}
    rows = json.loads(Path("out/sweep.json").read_text())["trials"]
    return trials | {"order": [row["trial"] for row in rows], "split": Path("out/split.json").read_text()}


def _compare() -> dict[str, object]:
    fits = {path.name: fit_result(path) for path in sorted(Path("out/fits").iterdir()) if path.is_dir()}
    measured = {name: json.loads(Path("out", f"{name}.json").read_text()) for name in fits}
    for one in measured.values():
        one.pop("fit")  # times
    tables = sorted(json.loads(Path("out/results.json").read_text())["families"])
    return {"fits": fits, "measured": measured, "tables": tables}


COMMANDS = {
    "md": Command(
        ["md", "hcp", "--n-atoms", "8", "--model", "m.safetensors", "--steps", "120", "--every", "3", "--log-every",
         "2", "--checkpoint-every", "10", "-o", "out"], _md_on, _md),
    "fit": Command(
        ["fit", "data.h5", "-o", "out", "--epochs", "8", *SMALL], _resumed("settings.json"),
        lambda: fit_result(Path("out"))),
    "convert": Command(
        ["convert", "in.extxyz", "out.h5", "--overwrite"], lambda words: words,
        lambda: {"out.h5": Path("out.h5").read_bytes()}),
    "relax": Command(
        ["relax", "rough.extxyz", "--model", "m.safetensors", "-o", "out.extxyz", "--fmax-eV-per-A", "1e-9",
         "--cell", "full", "--smax-GPa", "1e-9", "--steps", "25"], _relax_on, _relax),
    "sweep": Command(
        ["sweep", "data.h5", "-o", "out", "--epochs", "2", "--trials", "trials.json", *SMALL],
        _resumed("plan.json"), _sweep),
    "compare": Command(
        ["compare", "data.h5", "-o", "out", "--quick", "--families", "calhousnet,ani"], _resumed("protocol.json"),
        _compare),
}  # fmt: skip
STATUS = {"relax": 1}  # it does not converge, which its status tells


@cache
def inputs() -> Path:
    """A folder with what the commands read, made once for each process."""
    for name in IMPORTED:
        import_module(name)
    from ase.io import write
    from conftest import small_model
    from labelled import lj_frames

    from ru_calc.dataset import Dataset, write_dataset
    from ru_calc.modelfiles.load import save_model
    from ru_calc.structures.build import build_structure

    folder = Path(tempfile.mkdtemp(prefix="ru-calc-campaign-"))
    os.environ.setdefault("RU_CALC_CACHE", str(folder / "cache"))
    write(folder / "in.extxyz", lj_frames(300))
    write_dataset(Dataset.from_atoms(lj_frames(24)), folder / "data.h5")
    save_model(folder / "m.safetensors", small_model(angular=False), {})
    rough = build_structure("hcp", n_atoms=8)
    rough.rattle(0.05, seed=1)
    write(folder / "rough.extxyz", rough)
    (folder / "trials.json").write_text(json.dumps({"base": {}, "wide": {"model.channels": 12}}))
    return folder


def new_folder(into: Path | None = None) -> Path:
    """A new folder with the inputs, which becomes the working folder."""
    folder = into or Path(tempfile.mkdtemp(prefix="case-", dir=inputs()))
    for path in inputs().iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    os.chdir(folder)
    return folder


def drop(folder: Path) -> None:
    """Removes the folder of a case."""
    os.chdir(inputs())
    shutil.rmtree(folder, ignore_errors=True)


def start(words: list[str], log: Path, before: Callable[[], None] = lambda: None) -> int:
    """Starts a command in a forked process, after `before` in that process; what it prints goes to `log`."""
    from forked import forked

    from ru_calc.cli import main

    def command() -> None:
        before()
        main(words, prog_name="ru-calc")

    return forked(command, log)


@cache
def unbroken(name: str) -> tuple[dict[str, object], float]:
    """The result of an unbroken run, and its wall time in s."""
    from forked import ended

    command, folder = COMMANDS[name], new_folder()
    began = time.monotonic()
    status = ended(start(command.words, folder / "log"))
    took = time.monotonic() - began
    if status != STATUS.get(name, 0):
        raise RuntimeError(f"{name} itself fails: {(folder / 'log').read_text()[-500:]}")
    result = command.result()
    drop(folder)
    return result, took


def finish(name: str, folder: Path) -> None:
    """Goes on with a command to its end.

    Raises:
        AssertionError: it fails, its result is not that of an unbroken run, or something unfinished is left.
    """
    from forked import ended

    command, log = COMMANDS[name], folder / "log"
    words = command.on(command.words)
    if words:
        status = ended(start(words, log))
        assert status == STATUS.get(name, 0), f"{' '.join(words)}: status {status}, {log.read_text()[-300:]}"
    result, expected = command.result(), unbroken(name)[0]
    differing = [key for key in expected if result.get(key) != expected[key]]
    assert not differing and result.keys() == expected.keys(), f"{differing} differ from the unbroken run"
    left = [str(path) for path in folder.rglob(".*.tmp")]
    assert not left, f"left unfinished: {left}"


def clean_up() -> None:
    """Removes the inputs."""
    with suppress(OSError):
        os.chdir("/")
    shutil.rmtree(inputs(), ignore_errors=True)
