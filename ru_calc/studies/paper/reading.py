"""What can be read from the table beside the paper's, in words; every figure in them comes from the results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ru_calc.studies.paper.settings import PAPER_SHARES, STEPWISE

NORMAL_MAE = math.sqrt(2.0 / math.pi)  # mean of |x| for a normal x of variance 1


def reading(results: Mapping[str, Any]) -> str:
    """One paragraph on what can be compared with the paper's table and what cannot."""
    data, components, mean = results["data"], results["components"], results["mean"]["errors"]["test"]
    outputs = 1 + components["forces"]["kept"]
    force_share = (outputs - 1) / outputs
    best, row = min(results["rows"].items(), key=lambda item: item[1]["errors"]["test"]["forces_mse"])
    paper_ani, paper_gnn = results["paper"]["ANI"], results["paper"]["GNN"]
    inputs = components["descriptors"]["shares"][: components["descriptors"]["kept"]]
    frames, atoms = sum(data["frames"].values()), sum(data["atoms"].values())
    sentences = [
        "**What can be compared.** The two figures of a cell are of different data: ours are "
        f"{frames} frames with {atoms} atoms (labels: {data['level_of_theory']}), split so that frames of one "
        "simulation stay on one side; the paper's are not public. The gaps between training and "
        "test can be compared, and the order of models whose errors differ clearly; single figures cannot.",
        f"The targets are standardised: one unit is {components['energy_unit_eV_per_atom']:.3g} eV per atom of energy "
        f"and {_span(components['force_units_eV_per_A'])} eV/Å of force here; what it is in the paper is not stated.",
        f"The mean of the training targets, given for every atom, has MAE {mean['mae']:.2f} and MSE {mean['mse']:.2f} "
        f"on our test set; of normally distributed targets it would have {NORMAL_MAE:.2f} and 1.00, and the paper's "
        f"ANI ({paper_ani['mae']['test']:.2f} and {paper_ani['mse']['test']:.2f}) lies just there.",
        f"Of our descriptors {len(inputs)} principal components carry {_percents(inputs)} of the variance (the paper's "
        f"three: {_percents(PAPER_SHARES['descriptors'])}); the three of the forces carry "
        f"{_percents(components['forces']['shares'])}, and {components['forces']['kept']} of them were kept (the paper "
        f"kept two, with {_percents(PAPER_SHARES['forces'])}).",
        "SOAP vectors do not change when the atoms are turned, and forces turn with the atoms: where no direction is "
        "preferred, nothing that is computed from such inputs predicts a force component better than its mean does. "
        f"On our test set the mean has a forces MSE of {mean['forces_mse']:.3f}, and the best row ({best}) has "
        f"{row['errors']['test']['forces_mse']:.3f}; as forces are {outputs - 1} of {outputs} targets, perfect "
        f"energies would still leave a total MSE near {force_share * mean['forces_mse']:.2f}.",
        f"If the paper's errors are over all targets too, the {paper_gnn['mse']['train']:.2f} of its GNN in training "
        "needs data with a preferred direction, or a network that remembers its rows.",
        "The paper's pooling over all atoms gives one row per graph; ours is over each atom and its neighbours.",
        *_steps(results),
        "None of these networks is a potential: a force that is not the derivative of the energy does not conserve it. "
        "What this package offers for dynamics is compared by the other protocol.",
    ]
    return " ".join(sentences)


def _steps(results: Mapping[str, Any]) -> list[str]:
    rows = results["rows"]
    if "SchNet" not in rows:
        return []
    row = rows["SchNet"]
    # Adam moves a weight by about the rate; warm-up and cosine leave half of the highest on average.
    reach, mse = 0.5 * 5e-5 * row["steps"], row["errors"]["test"]["mse"]
    found = [
        f"SchNet's optimiser made {row['steps']} steps ({row['epochs']} epochs, batches of {results['batch_atoms']} "
        f"atoms, {row['accumulate']} batches a step); at the paper's rates of 1e-5 to 5e-5 that moves a weight by "
        f"about {reach:.1g} at most, and more data would train it further."
    ]
    if STEPWISE in rows:
        row = rows[STEPWISE]
        found.append(
            f"{STEPWISE} is the same network with a step after every batch, {row['steps']} in all: MSE "
            f"{row['errors']['test']['mse']:.2f} on the test set instead of {mse:.2f}."
        )
    return found


def _percents(shares: Sequence[float]) -> str:
    return " + ".join(f"{100 * share:.1f}" for share in shares) + " %"


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"
