"""Nuclei of hcp ruthenium as quantum particles: a path integral of several beads in i-PI, forces from the calculator.

Run `python md_examples/ipi_path_integral.py` after `pip install ipi`; it prints the results.  i-PI moves the beads and
sends them over a socket to this process, which answers with ASE's client; more clients may share the beads.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ase.calculators.socketio import SocketClient
from ase.io import write
from ase.units import kB

from ru_calc import RuSchNet
from ru_calc.structures.build import build_structure

INPUT = """\
<simulation verbosity='quiet'>
  <output prefix='ru'>
    <properties stride='1' filename='out'> [ step, kinetic_cv{{electronvolt}}, potential{{electronvolt}} ] </properties>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>{seed}</seed></prng>
  <ffsocket mode='unix' name='driver' pbc='false'><address>{address}</address></ffsocket>
  <system>
    <initialize nbeads='{beads}'>
      <file mode='ase'> start.extxyz </file>
      <velocities mode='thermal' units='kelvin'> {temperature_K} </velocities>
    </initialize>
    <forces><force forcefield='driver'/></forces>
    <ensemble><temperature units='kelvin'> {temperature_K} </temperature></ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nvt'>
        <timestep units='femtosecond'> 1.0 </timestep>
        <thermostat mode='pile_g'><tau units='femtosecond'> 50 </tau></thermostat>
      </dynamics>
    </motion>
  </system>
</simulation>
"""


def main(n_atoms=16, beads=8, temperature_K=100.0, steps=2000, seed=3, folder=None):
    """Returns the mean kinetic energy of an atom in the second half, in eV and over that of a classical one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(folder or temporary)
        address = f"ru-calc-{Path(temporary).name}"
        atoms = build_structure("hcp", n_atoms=n_atoms)
        write(folder / "start.extxyz", atoms)
        (folder / "input.xml").write_text(
            INPUT.format(beads=beads, temperature_K=temperature_K, steps=steps, seed=seed, address=address)
        )
        program = Path(sys.executable).with_name("i-pi")
        server = subprocess.Popen([program, "input.xml"], cwd=folder, stdout=subprocess.DEVNULL)
        try:
            answer(address, atoms, server)
            if server.wait(timeout=60):
                raise SystemExit(f"i-pi ended with status {server.returncode}")
            kinetic_eV = np.loadtxt(folder / "ru.out")[steps // 2 :, 1].mean() / n_atoms
        finally:
            server.kill()
    ratio = kinetic_eV / (1.5 * kB * temperature_K)
    print(f"kinetic energy {1000 * kinetic_eV:.2f} meV/atom at {temperature_K:g} K, {ratio:.3f} times the classical")
    return {"kinetic_eV": kinetic_eV, "over_classical": ratio}


def answer(address, atoms, server):
    """Serves forces until i-PI has done its steps."""
    atoms = atoms.copy()
    atoms.calc = RuSchNet()
    for _ in range(600):  # until the server listens
        try:
            client = SocketClient(unixsocket=address)
            break
        except OSError:
            if server.poll() is not None:
                raise SystemExit("i-pi ended before it listened") from None
            time.sleep(0.1)
    else:
        raise SystemExit("i-pi does not listen")
    client.run(atoms, use_stress=False)


if __name__ == "__main__":
    main()
