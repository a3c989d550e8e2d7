"""Steps of VASP that are no data: SCF that did not converge, machine-learned steps, repeats after a restart."""

from __future__ import annotations

import copy
import re
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import read

from ru_calc.dataset.layouts.contents import Contents

ITERATION = re.compile(r"Iteration\s+(\d+)\(\s*(\d+)\)")
CHANGE = re.compile(r"total energy-change \(2\. order\) :\s*(\S+?)\s*\(\s*([^\s)]+)\s*\)")
SETTING = {"NELM": re.compile(r"\bNELM\s*=\s*(\d+)"), "EDIFF": re.compile(r"\bEDIFF\s*=\s*([-+.\dEed]+)")}
END_OF_STEP = "FREE ENERGIE OF THE ION-ELECTRON SYSTEM"
UNCONVERGED = "its SCF stopped after {} steps (NELM) without converging"
LEARNED = "it was predicted by VASP's machine-learned force field"
LEARNED_WORDS = re.compile(r"\bML(?= (TOTEN|energy|FREE ENERGIE))|ML(?=\s*energy\(sigma)|\(ML\)")
SAME_A = 1e-5


def read_outcar(path: Path) -> Contents:
    """All frames of an OUTCAR, and those that are no data."""
    steps = list(_outcar_steps(path))
    frames = _read_learned(path) if any(step.learned for step in steps) else _read(path, "vasp-out")
    unfit = {}
    for k, step in enumerate(steps):
        if step.learned:
            unfit[k] = LEARNED
        elif step.unconverged:
            unfit[k] = UNCONVERGED.format(step.iterations)
        elif step.first and 0 < k < len(frames) and _same(frames[k - 1], frames[k]):
            unfit[k] = f"a restart repeats frame {k - 1}"
    return Contents(frames, {k: why for k, why in unfit.items() if k < len(frames)})


def _read(path: Path, form: str) -> list[Atoms]:
    return list(read(path, index=":", format=form, do_not_split_by_at_sign=True))


def _read_learned(path: Path) -> list[Atoms]:
    """Frames of an OUTCAR with the words by which its machine-learned steps differ taken out: ASE stops at them."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "OUTCAR"
        with open(path, encoding="utf-8", errors="replace") as old, open(plain, "w", encoding="utf-8") as new:
            new.writelines(LEARNED_WORDS.sub(lambda found: " " * len(found[0]), line) for line in old)
        return _read(plain, "vasp-out")


def _same(one: Atoms, other: Atoms) -> bool:
    return len(one) == len(other) and bool(
        np.allclose(one.positions, other.positions, rtol=0, atol=SAME_A)
        and np.allclose(one.cell.array, other.cell.array, rtol=0, atol=SAME_A)
    )


@dataclass
class _Step:
    """What an OUTCAR tells of an ionic step."""

    iterations: int = 0
    first: bool = False
    learned: bool = False
    unconverged: bool = False


def _outcar_steps(path: Path) -> Iterator[_Step]:
    limits = {"NELM": np.inf, "EDIFF": 0.0}
    step, change, said = _Step(), np.inf, False
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            for name, pattern in SETTING.items():
                if name in line and (found := pattern.search(line)):
                    limits[name] = float(found[1].replace("D", "E").replace("d", "e"))
            if "Iteration" in line and (found := ITERATION.search(line)):
                step.first, step.iterations = int(found[1]) == 1, int(found[2])
            elif "energy-change" in line and (found := CHANGE.search(line)):
                change = _largest(found.groups())
            elif "EDIFF was not reached" in line:
                said = True
            elif END_OF_STEP in line:
                # VASP 5 says that EDIFF is reached also where the number of steps has run out.
                exhausted = step.iterations >= limits["NELM"] and not change < limits["EDIFF"]
                step.unconverged, step.learned = said or exhausted, line.lstrip().startswith("ML")
                yield step
                step, change, said = _Step(), np.inf, False


def _largest(texts: tuple[str, ...]) -> float:
    try:
        return max(abs(float(text)) for text in texts)
    except ValueError:  # Fortran's asterisks
        return np.inf


def read_vasprun(path: Path) -> Contents:
    """All frames of a vasprun.xml, and those that are no data."""
    root, limits = _parsed(path)
    steps = [] if root is None else root.findall("calculation")
    unfit = {k: why for k, step in enumerate(steps) if (why := _why_unfit(step, limits))}
    if LEARNED not in unfit.values():
        return Contents(_read(path, "vasp-xml"), unfit)
    # ASE's reader needs an SCF step of every ionic step.
    for step in steps:
        energy = step.find("energy")
        if step.find("scstep/energy") is None and energy is not None:
            ET.SubElement(step, "scstep").append(copy.deepcopy(energy))
    with tempfile.TemporaryDirectory() as folder:
        mended = Path(folder) / "vasprun.xml"
        assert root is not None
        ET.ElementTree(root).write(mended)
        return Contents(_read(mended, "vasp-xml"), unfit)


def _parsed(path: Path) -> tuple[ET.Element | None, dict[str, float]]:
    """The tree as far as the file goes, and NELM and EDIFF."""
    root, limits = None, {"NELM": np.inf, "EDIFF": 0.0}
    try:
        for event, element in ET.iterparse(path, events=("start", "end")):
            root = element if root is None else root
            if event == "end" and element.tag == "i" and element.attrib.get("name") in limits:
                limits[element.attrib["name"]] = float(element.text or "nan")
    except ET.ParseError:
        pass  # a run that was killed; ASE's reader takes what is there
    return root, limits


def _why_unfit(step: ET.Element, limits: dict[str, float]) -> str | None:
    if step.find("energy") is None:
        return None
    energies = [float(one.text or "nan") for one in step.findall("scstep/energy/i[@name='e_fr_energy']")]
    count = len(step.findall("scstep"))
    if not count:
        return LEARNED
    settled = len(energies) > 1 and abs(energies[-1] - energies[-2]) < limits["EDIFF"]
    return UNCONVERGED.format(count) if count >= limits["NELM"] and not settled else None
