"""Labels by the names of their columns, their units, signs and order, against numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import read, write
from labelled import labelled

from ru_calc.dataset.convert import ConvertSettings, convert
from ru_calc.dataset.labels import labels_of
from ru_calc.dataset.reading import Reading
from ru_calc.errors import DataError, SettingsError

# Two atoms in a cell of 3 × 3 × 4 Å: V = 36 Å³.
FORCES = np.array([[0.1, -0.2, 0.3], [-0.1, 0.2, -0.3]])
STRESS = np.array([[0.01, 0.04, 0.05], [0.04, 0.02, 0.06], [0.05, 0.06, 0.03]])
VOIGT = [0.01, 0.02, 0.03, 0.06, 0.05, 0.04]
VOLUME = 36.0
AUTO = Reading()


def pair(**columns: object) -> Atoms:
    """Two atoms; values with a row for each atom become arrays, others `info`."""
    atoms = Atoms("Ru2", [[0, 0, 0], [1.5, 1.5, 2.0]], cell=[3, 3, 4], pbc=True)
    for name, value in columns.items():
        (atoms.arrays if np.shape(value) == (2, 3) else atoms.info)[name] = value
    return atoms


def taken(atoms: Atoms, reading: Reading = AUTO) -> dict[str, object]:
    return {name: np.round(value, 9).tolist() for name, value in labels_of(atoms, reading).values.items()}


@pytest.mark.parametrize(
    ("energy", "forces", "stress"),
    [
        ("energy", "forces", "stress"), ("REF_energy", "REF_forces", "REF_stress"),
        ("dft_energy", "dft_forces", "dft_stress"), ("DFT_energy", "DFT_force", "DFT_stress"),
        ("Energy", "force", "stress"), ("ref_free_energy", "ref_force", "ref_stress"),
        ("free_energy", "Forces", "Stress"), ("total_energy", "forces", "stress"),
    ],
)  # fmt: skip
def test_names_of_other_programs_are_known(energy, forces, stress):
    atoms = pair(**{energy: -18.5, forces: FORCES, stress: STRESS})
    assert taken(atoms) == {"energy": -18.5, "forces": FORCES.tolist(), "stress": VOIGT}
    assert labels_of(atoms).columns == {"energy": energy, "forces": forces, "stress": stress}


@pytest.mark.parametrize("name", ["virial", "virials", "REF_virial", "DFT_virials"])
@pytest.mark.parametrize("shape", [(3, 3), (9,)])
def test_a_virial_is_minus_stress_times_volume(name, shape):
    atoms = pair(energy=1.0, **{name: -VOLUME * STRESS.reshape(shape)})
    assert taken(atoms)["stress"] == VOIGT


def test_reference_values_come_first_and_then_the_force_consistent_energy():
    atoms = pair(energy=-1.0, free_energy=-2.0, DFT_energy=-3.0, REF_energy=-4.0)
    order = []
    for name in ("REF_energy", "DFT_energy", "free_energy", "energy"):
        found = labels_of(atoms)
        order.append((found.columns["energy"], float(found.values["energy"]), sorted(found.ignored)))
        del atoms.info[name]
    assert order == [
        ("REF_energy", -4, ["DFT_energy", "energy", "free_energy"]),
        ("DFT_energy", -3, ["energy", "free_energy"]),
        ("free_energy", -2, ["energy"]),
        ("energy", -1, []),
    ]


def test_a_column_that_repeats_the_one_taken_is_not_named():
    atoms = pair(energy=-2.0, free_energy=-2.0, REF_forces=FORCES, forces=FORCES)
    assert labels_of(atoms).ignored == {}
    atoms.info["energy"] = -2.001
    assert labels_of(atoms).ignored == {"energy": "energy"}


def test_any_column_is_taken_by_its_name_in_order_of_preference():
    atoms = pair(energy=-1.0, qm=-2.0, gradient=FORCES, p=STRESS)
    reading = Reading(energy_key=("best", "qm"), forces_key=("gradient",), forces_sign="gradient", stress_key=("p",))
    assert taken(atoms, reading) == {"energy": -2.0, "forces": (-FORCES).tolist(), "stress": VOIGT}
    assert taken(atoms, Reading(energy_key=("none",), stress_key=("p",), stress_sign="vasp")) == {
        "stress": [-x for x in VOIGT]
    }
    assert taken(atoms, Reading(virial_key=("p",)))["stress"] == pytest.approx([-x / VOLUME for x in VOIGT])


def test_what_looks_like_a_label_is_named_and_what_does_not_is_not():
    atoms = pair(
        energy=-1.0, mace_energy=-1.1, F=FORCES, odd=FORCES, my_stress=VOIGT, old_virial=STRESS, kinetic_energy=0.1,
        energies=[1.0, 2.0], magmoms=FORCES, energy_weight=1.0, cutoff_energy=400.0, config_type="e", temperature=300.0,
    )  # fmt: skip
    atoms.set_velocities(FORCES)
    assert labels_of(atoms).ignored == {
        "mace_energy": "energy", "F": "forces", "odd": "forces", "my_stress": "stress", "old_virial": "virial"
    }  # fmt: skip


@pytest.mark.parametrize(("order", "six"), [("ase", VOIGT), ("vasp", [0.01, 0.02, 0.03, 0.04, 0.06, 0.05])])
def test_six_numbers_need_their_order(tmp_path, order, six):
    for name in ("stress", "REF_stress"):
        numbers = " ".join(map(str, six))
        (tmp_path / "a.extxyz").write_text(
            f'2\nLattice="3 0 0 0 3 0 0 0 4" Properties=species:S:1:pos:R:3 energy=-1.5 {name}="{numbers}"\n'
            "Ru 0 0 0\nRu 1.5 1.5 2\n"
        )
        with pytest.raises(DataError, match=r"its stress has 6 numbers.*--stress-order ase \(xx yy zz yz xz xy\) or"):
            convert([tmp_path / "a.extxyz"])
        found = convert([tmp_path / "a.extxyz"], ConvertSettings(Reading(stress_order=order))).dataset
        np.testing.assert_allclose(found.stress, [VOIGT])
        bare = convert([tmp_path / "a.extxyz"], ConvertSettings(Reading(stress_key=("none",)))).dataset
        assert bare.energy.tolist() == [-1.5] and not bare.has("stress").any()


def test_units_that_a_frame_states_are_honoured():
    atoms = pair(
        energy=-1.0,
        forces=FORCES,
        stress=STRESS,
        **{"energy-unit": "Ha", "forces_units": "Ha/bohr", "stress-unit": "GPa"},
    )
    found = labels_of(atoms).values
    assert found["energy"] == pytest.approx(-27.211386, rel=1e-6)
    np.testing.assert_allclose(found["forces"], FORCES * 51.422067, rtol=1e-6)
    np.testing.assert_allclose(found["stress"], np.array(VOIGT) / 160.21766, rtol=1e-6)


def test_units_of_one_column_leave_others_alone():
    atoms = pair(energy=-1.0, REF_energy=-2.0, **{"REF_energy-unit": "Ry"})
    assert labels_of(atoms).values["energy"] == pytest.approx(-2 * 13.605693)
    assert labels_of(atoms, Reading(energy_key=("energy",))).values["energy"] == -1.0


def test_lengths_in_bohr_scale_positions_cell_and_the_volume_of_a_virial(tmp_path):
    bohr = 0.529177
    atoms = pair(energy=-1.0, virial=-VOLUME * STRESS)
    atoms.set_cell(atoms.cell / bohr, scale_atoms=True)
    write(tmp_path / "a.extxyz", atoms)
    reading = Reading(length_unit="bohr", energy_unit="eV", virial_unit="eV")
    dataset = convert([tmp_path / "a.extxyz"], ConvertSettings(reading)).dataset
    np.testing.assert_allclose(dataset.structures.cells[0], np.diag([3, 3, 4]), rtol=1e-5)
    np.testing.assert_allclose(dataset.structures.positions[1], [1.5, 1.5, 2.0], rtol=1e-5)
    np.testing.assert_allclose(dataset.stress, [VOIGT], rtol=1e-5)


@pytest.mark.parametrize(
    ("info", "given", "message"),
    [
        ({"energy-unit": "furlong"}, {}, "it states a unit that is not known: the unit of energy is 'furlong'"),
        ({"energy-unit": "Ha"}, {}, "one unit is Ha, but that of its forces .* is not stated; give --forces-unit"),
        ({"energy-unit": "Ha"}, {"energy_unit": "Ry"}, "it states that its energy is in Ha, but --energy-unit is Ry"),
        ({}, {"length_unit": "bohr", "forces_unit": "Ha/bohr"}, "one unit is bohr, but that of its energy"),
        ({"units": "Ha, bohr"}, {}, "it states units=Ha, bohr, which is not eV and Å"),
    ],
)
def test_units_that_cannot_be_honoured_are_refused(info, given, message):
    with pytest.raises(DataError, match="a.xyz: " + message):
        labels_of(pair(energy=-1.0, forces=FORCES, **info), Reading(**given), "a.xyz: ")


def test_units_that_are_ase_s_own_change_nothing():
    for units in ("eV, Angstrom", "metal", {"energy": "eV", "forces": "eV/Angstrom"}):
        assert taken(pair(energy=-1.0, forces=FORCES, units=units))["energy"] == -1.0


def test_energies_per_atom_are_multiplied():
    assert taken(pair(energy=-9.25), Reading(energy_per_atom=True)) == {"energy": -18.5}


def test_stress_and_virial_that_contradict_each_other_are_refused():
    fine = pair(energy=-1.0, stress=STRESS, virial=-VOLUME * STRESS)
    assert taken(fine)["stress"] == VOIGT
    wrong = pair(energy=-1.0, stress=STRESS, virial=VOLUME * STRESS)
    with pytest.raises(DataError, match=r"stress \(stress, 0.02 eV/Å³ in the mean\) is not -virial/V \(virial, -0.02"):
        labels_of(wrong)
    assert taken(wrong, Reading(virial_key=("none",)))["stress"] == VOIGT
    assert taken(wrong, Reading(stress_key=("none",)))["stress"] == [-x for x in VOIGT]


@pytest.mark.parametrize("value", [None, np.full((3, 3), np.inf), np.full(9, np.nan), "abc", [1.0, 2.0]])
def test_a_stress_without_a_volume_is_left_out_whatever_it_is(value):
    atoms = pair(energy=-1.0, forces=FORCES, stress=value)
    atoms.pbc = [True, True, False]
    found = labels_of(atoms)
    assert sorted(found.values) == ["energy", "forces"] and found.no_volume


@pytest.mark.parametrize(("value", "words"), [("None", "'None'"), (True, "True"), ([1, "x"], r"\[1, 'x'\]")])
def test_text_in_place_of_a_number_is_refused(value, words):
    with pytest.raises(DataError, match=f"its energy is {words}, not a number; correct it.*--energy-key none"):
        labels_of(pair(energy=value))
    assert taken(pair(energy=value, forces=FORCES), Reading(energy_key=("none",))) == {"forces": FORCES.tolist()}


def test_no_label_of_a_set_that_mixes_names_is_lost(tmp_path):
    frames = [
        pair(REF_energy=-1.0, REF_forces=FORCES), pair(free_energy=-2.0, force=FORCES, virial=-VOLUME * STRESS),
        labelled(pair(), energy=-3.0, forces=FORCES, stress=np.array(VOIGT)), pair(dft_energy=-4.0, mine=FORCES),
    ]  # fmt: skip
    write(tmp_path / "a.extxyz", frames)
    result = convert([tmp_path / "a.extxyz"])
    assert result.dataset.energy.tolist() == [-1, -2, -3, -4]
    assert result.dataset.has("forces").tolist() == [True, True, True, False]
    np.testing.assert_allclose(result.dataset.stress[1:3], [VOIGT, VOIGT])
    text = "\n".join(result.lines())
    assert "energy taken from: REF_energy (1 frames), dft_energy (1 frames), energy (1 frames), free_energy" in text
    assert "stress taken from: missing (2 frames), stress (1 frames), virial (1 frames)" in text
    assert "left out: column mine of 1 frame, as REF_forces or force or forces is taken; --forces-key mine" in text
    assert "warning: REF_energy and dft_energy and energy and free_energy are mixed" in text


def test_a_set_without_labels_names_its_columns_and_the_options(tmp_path):
    write(tmp_path / "a.extxyz", [pair(qm9_u0=-1.0, hirshfeld=3.0)] * 2)
    with pytest.raises(DataError, match=r"none of the 2 frames.*columns are: hirshfeld, qm9_u0; .* --energy-key"):
        convert([tmp_path / "a.extxyz"])
    found = convert([tmp_path / "a.extxyz"], ConvertSettings(Reading(energy_key=("qm9_u0",))))
    assert found.dataset.energy.tolist() == [-1.0, -1.0]


def test_labels_of_two_origins_in_a_frame_are_warned_of(tmp_path):
    write(tmp_path / "a.extxyz", pair(REF_energy=-1.0, energy=-1.2, forces=FORCES))
    text = "\n".join(convert([tmp_path / "a.extxyz"]).lines())
    assert "left out: column energy of 1 frame, as REF_energy is taken; --energy-key energy takes it" in text
    assert "warning: labels of 1 frames are of different origin" in text


def test_forces_that_are_zero_on_all_fixed_atoms_are_warned_of(tmp_path):
    for forces, warned in ((FORCES, False), (FORCES * [[0], [1]], True)):
        atoms = labelled(pair(), energy=-1.0, forces=forces)
        atoms.set_constraint(FixAtoms([0]))
        write(tmp_path / "a.extxyz", atoms)
        found = convert([tmp_path / "a.extxyz"])
        np.testing.assert_allclose(found.dataset.forces, forces)
        assert ("fixed atoms are exactly 0" in "\n".join(found.lines())) is warned
        assert len(read(tmp_path / "a.extxyz").constraints) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"energy_unit": "lb"}, "the unit of energy is 'lb'"), ({"stress_sign": "up"}, "stress_sign is 'up'"),
        ({"elements": ("Rux",)}, "elements is 'Rux'"),
    ],
)  # fmt: skip
def test_settings_of_reading_are_checked(given, message):
    with pytest.raises(SettingsError, match=message):
        Reading(**given)
