"""Forces and stresses that no metal can have, in frames whose direction and sign tell nothing."""

from __future__ import annotations

import numpy as np

from ru_calc.doctor.compared import SHOWN, Compared
from ru_calc.doctor.findings import Finding
from ru_calc.doctor.units import MISTAKES, Mistake

BOUND = {"forces": (5.0, 5.0), "stress": (12.7, 3.0)}  # a label beyond a + b·prediction is absurd
USUAL = {
    "forces": ("kcal/mol/Angstrom", "kJ/mol/Angstrom", "kJ/mol/nm", "meV/Angstrom"),
    "stress": ("GPa", "kbar", "bar", "Pa"),
}  # larger numbers than in eV and Å
SIGNS = {"forces": "--forces-sign", "stress": "--stress-sign"}


def check_absurd(some: Compared) -> list[Finding]:
    """Labels beyond what any metal has, with the units in which they would be possible; their sign stays open."""
    floor, slope = BOUND[some.quantity]
    absurd = some.label_rms * some.per_atom > floor + slope * some.model_rms * some.per_atom
    if absurd.mean() < 0.5 or not absurd.any():
        return []
    bad = some.among(absurd)
    scale, unit = SHOWN[some.quantity]
    worst = int(np.argmax(bad.label_rms))
    text = (
        f"{some.quantity} of {bad.label_rms[worst] * scale:.0f} {unit} (rms of the components), where the metal has "
        f"about {bad.model_rms[worst] * scale:.1f} {unit}"
    )
    possible = _possible(bad)
    mend = "look up unit and sign in the manual of the program that wrote them"
    if possible:
        text += ": possible " + " or ".join(one.words for one in possible)
        options = " or ".join(one.mend for one in possible)
        mend += f", then convert with {options}; add {SIGNS[some.quantity]} if need be, which these frames do not tell"
    figure = float(bad.label_rms[worst] * scale)
    return [Finding("error", f"{some.quantity}-absurd", text, tuple(bad.frames.tolist()), mend, figure)]


def _possible(bad: Compared) -> list[Mistake]:
    """Units in which the labels are what a metal may have, the usual ones first."""
    floor, slope = BOUND[bad.quantity]
    allowed = 0.3 * floor + slope * bad.model_rms * bad.per_atom
    named = {one.words: one for one in MISTAKES[bad.quantity]}
    virials = [one for one in MISTAKES[bad.quantity] if one.volume_power and one.sign < 0]
    usual = [named[f"in {unit}"] for unit in USUAL[bad.quantity]] + virials
    return [one for one in usual if (bad.label_rms / one.factors(bad.volumes) * bad.per_atom < allowed).all()]
