"""Steps of VASP that are no data: named, and left out; outputs written here in VASP's formats."""

from __future__ import annotations

import gzip

import pytest

from ru_calc.dataset.convert import convert
from ru_calc.dataset.layouts import read_frames
from ru_calc.errors import DataError

BASIS = '<varray name="basis"><v> 3 0 0 </v><v> 0 3 0 </v><v> 0 0 3 </v></varray>'
ATOMS = '<array name="atoms"><set><rc><c>Ru</c><c> 1</c></rc><rc><c>Ru</c><c> 1</c></rc></set></array>'


def structure(z: float, name: str = "") -> str:
    positions = f'<varray name="positions"><v> 0 0 0 </v><v> 0.5 0.5 {z} </v></varray>'
    return f"<structure{name}><crystal>{BASIS}</crystal>{positions}</structure>"


def energies(free: float) -> str:
    return (
        f'<energy><i name="e_fr_energy"> {free} </i><i name="e_wo_entrp"> {free + 0.2} </i>'
        f'<i name="e_0_energy"> {free + 0.1} </i></energy>'
    )


def vasprun(*steps: list[float], nelm: int = 3) -> str:
    """Each step is the list of its energies along the SCF; [0, energy] means one without SCF."""
    text = "<modeling><kpoints><varray name='kpointlist'><v> 0 0 0 </v></varray></kpoints>"
    text += f'<parameters><i type="int" name="NELM"> {nelm}</i><i name="EDIFF"> 1e-4</i></parameters>'
    text += f"<atominfo>{ATOMS}</atominfo>" + structure(0.5, ' name="initialpos"')
    for k, scf in enumerate(steps):
        cycle = "" if scf[0] == 0 else "".join(f"<scstep>{energies(free)}</scstep>" for free in scf)
        forces = '<varray name="forces"><v> 0 0 1 </v><v> 0 0 -1 </v></varray>'
        text += f"<calculation>{cycle}{structure(0.5 + 0.01 * k)}{forces}{energies(scf[-1])}</calculation>"
    return text + "</modeling>"


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_steps_of_vasprun_whose_scf_ran_out_are_left_out(tmp_path, suffix):
    text = vasprun([-10, -18.0, -18.00001], [-10, -17.0], [-10, -12.0, -16.0])
    path = tmp_path / f"vasprun.xml{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix else text.encode())
    result = convert([path])
    assert result.dataset.energy.tolist() == [-18.00001, -17.0]  # the first converged in its last step
    assert result.account.unfit == [f"{path}, frame 2: its SCF stopped after 3 steps (NELM) without converging"]
    assert any(line.startswith("left out: ") and "frame 2" in line for line in result.lines())
    assert len(read_frames(path)) == 3  # as structures they are as good as others


def test_a_set_of_nothing_but_unconverged_steps_is_refused(tmp_path):
    (tmp_path / "vasprun.xml").write_text(vasprun([-1, -2, -3]))
    with pytest.raises(DataError, match=r"all frames were left out; .*frame 0: its SCF stopped after 3 steps"):
        convert([tmp_path / "vasprun.xml"])


def test_machine_learned_steps_of_vasprun_are_left_out(tmp_path):
    (tmp_path / "vasprun.xml").write_text(vasprun([-10, -18.0], [0, -17.9], [-10, -17.8]))
    result = convert([tmp_path / "vasprun.xml"])
    assert result.dataset.energy.tolist() == [-18.0, -17.8]
    assert ["frame 1: it was predicted by VASP's machine-learned force field" in line for line in result.account.unfit]
    assert len(result.account.unfit) == 1


def test_a_run_that_was_killed_keeps_its_whole_steps(tmp_path):
    text = vasprun([-10, -18.0], [-10, -17.0])
    (tmp_path / "vasprun.xml").write_text(text[: text.rindex("<energy>")])
    assert convert([tmp_path / "vasprun.xml"]).dataset.energy.tolist() == [-18.0]


HEADER = """ vasp.6.3.0 18Jan22
 POTCAR:    PAW_PBE Ru 04Feb2005
 POTCAR:    PAW_PBE Ru 04Feb2005
   ISPIN  =      1    spin polarized calculation?
   NELM   =      3;   NELMIN=  2; NELMDL= -5     # of ELM steps
   EDIFF  = 0.1E-03   stopping-criterion for ELM
   ions per type =               2
   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   number of bands    NBANDS=     20
 k-points in reciprocal lattice and weights: Gamma
   0.00000000  0.00000000  0.00000000       1.000
"""


def ionic(step: int, changes: list[float], z: float, energy: float, said: str = "", ml: str = "") -> str:
    text = ""
    for k, change in enumerate(changes, 1):
        text += f"----- Iteration {step:6d}({k:4d})  -----\n total energy-change (2. order) :{change:.7E}  (-0.1E-06)\n"
    return (
        text
        + f"""{said}
  in kB     100.00000   200.00000   300.00000     1.00000     3.00000     2.00000
      direct lattice vectors                 reciprocal lattice vectors
     3.000000000  0.000000000  0.000000000     0.333333333  0.000000000  0.000000000
     0.000000000  3.000000000  0.000000000     0.000000000  0.333333333  0.000000000
     0.000000000  0.000000000  3.000000000     0.000000000  0.000000000  0.333333333
 POSITION                                       TOTAL-FORCE (eV/Angst){" (ML)" if ml else ""}
 -----------------------------------------------------------------------------------
      0.00000      0.00000      0.00000         1.000000      2.000000      3.000000
      1.50000      1.50000      {z:.5f}        -1.000000     -2.000000     -3.000000
 -----------------------------------------------------------------------------------
  {ml}FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy {"ML" if ml else "  "}TOTEN  =       {energy:.8f} eV

  {ml}energy  without entropy=      {energy + 0.2:.8f}  energy(sigma->0) =      {energy + 0.1:.8f}
"""
    )


def test_steps_of_outcar_that_are_no_data_are_left_out(tmp_path):
    # VASP 5 says "because EDIFF is reached" also where NELM ran out; VASP 6 says that it was not.
    (tmp_path / "OUTCAR").write_text(
        HEADER
        + ionic(1, [1.0, 1e-5], 1.5, -18.0)
        + ionic(2, [1.0, 0.5, 0.2], 1.51, -17.0, "------ aborting loop because EDIFF is reached ------")
        + ionic(3, [1.0, 0.5, 1e-5], 1.52, -16.0)
        + ionic(4, [1.0, 0.5], 1.53, -15.0, "------ aborting loop EDIFF was not reached (unconverged) ------")
        + ionic(5, [], 1.54, -14.0, ml="ML ")
        + ionic(1, [1.0, 1e-5], 1.54, -13.0)
        + ionic(2, [1.0, 1e-5], 1.55, -12.0)
    )
    result = convert([tmp_path / "OUTCAR"])
    assert result.dataset.energy.tolist() == [-18.0, -16.0, -12.0]
    assert [line.partition("frame ")[2] for line in result.account.unfit] == [
        "1: its SCF stopped after 3 steps (NELM) without converging",
        "3: its SCF stopped after 2 steps (NELM) without converging",
        "4: it was predicted by VASP's machine-learned force field",
        "5: a restart repeats frame 4",
    ]
