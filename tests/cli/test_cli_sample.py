"""`ru-calc sample`: what it writes and prints, and one clear line for every bad input."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.io import read
from click.testing import CliRunner, Result
from test_cli_data import assert_refused

from ru_calc.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["sample", *map(str, arguments)])


def test_frames_are_written_and_a_table_tells_what_they_are(tmp_path: Path) -> None:
    out = tmp_path / "frames.extxyz"
    result = run("-o", out, "--kind", "eos_*=2", "--kind", "dimer_pol=3", "--kind", "eos_sc=0")
    assert result.exit_code == 0, result.output
    frames = read(out, ":")
    assert len(frames) == 7 * 2 + 3 and all(a.pbc.all() and a.calc is None for a in frames)
    assert f"wrote 17 frames to {out}" in result.output
    row = next(line.split() for line in result.output.splitlines() if line.startswith("dimer_pol"))
    assert row[1:5] == ["cluster", "3", "2", "1.70–5.00"]
    assert "eos_sc" not in result.output


def test_known_frames_are_excluded(tmp_path: Path) -> None:
    first, second = tmp_path / "a.extxyz", tmp_path / "b.extxyz"
    assert run("-o", first, "--kind", "dimer_pol=3").exit_code == 0
    again = run("-o", second, "--kind", "dimer_pol=3", "--exclude", first)
    assert again.exit_code == 1 and "3 of 3 frames" in again.stderr and not second.exists()
    more = run("-o", second, "--kind", "dimer_pol=5", "--exclude", first)
    assert more.exit_code == 0 and len(read(second, ":")) == 2
    assert "left out, as they are known: 3 of 5 frames" in more.stderr


def test_runs_with_the_shipped_model_make_frames_at_the_temperature_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "md.extxyz"
    result = run("-o", out, "--md", "md_slab_vacancy=2", "--temperature-K", "400", "--every-fs", 100)
    assert result.exit_code == 0, result.output
    frames = read(out, ":")
    assert [a.info["T"] for a in frames] == [400, 400] and len({a.info["group_id"] for a in frames}) == 1
    assert all(a.info["kind"] == "slab" and a.calc is None and a.info["dmin"] > 2.1 for a in frames)


def test_kinds_are_listed() -> None:
    result = run("--list-kinds")
    assert result.exit_code == 0
    for words in ("hcp_rattle8", "hcp at 0.6–1.8 times its volume", "md_liquid", "3000–6000 K"):
        assert words in result.output


@pytest.mark.parametrize(
    ("arguments", "words", "status"),
    [
        (["--kind", "hcp_rattel8"], ["no kind 'hcp_rattel8'; did you mean hcp_rattle8"], 1),
        (["--kind", "random8=-2"], ["count of random8 is -2; it must be 0 or more"], 1),
        (["--kind", "random8=x"], ["'random8=x' is not NAME or NAME=COUNT"], 2),
        (["--kind", "random8", "--max-atoms", 4], ["max_atoms is 4, but frames of random8 have 8 atoms"], 1),
        (["--kind", "hcp_ca", "--nearest-A", 2.5], ["frame 0 of hcp_ca is unfit in each of 100 draws"], 1),
        (["--md", "md_hcp8", "--model", "nosuch"], ["nosuch"], 1),
        (["--md", "md_hcp8", "--temperature-K", "hot"], ["'hot' is not a temperature in K"], 2),
        (["--kind", "random8", "--temperature-K", "300"], ["--temperature-K applies to molecular dynamics"], 2),
        (["--exclude", "nosuch.extxyz", "--kind", "random8=1"], ["there is no file nosuch.extxyz"], 1),
    ],
)
def test_bad_input_ends_in_one_line_and_writes_nothing(arguments, words, status, tmp_path: Path) -> None:
    out = tmp_path / "frames.extxyz"
    assert_refused(run("-o", out, *arguments), *words, status=status)
    assert not list(tmp_path.iterdir())


def test_outputs_that_exist_or_are_of_another_format_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "frames.extxyz"
    out.write_text("kept")
    assert_refused(run("-o", out, "--kind", "dimer_pol=1"), "exists already", "--overwrite")
    assert out.read_text() == "kept"
    assert_refused(run("-o", tmp_path / "frames.h5"), "must end in .extxyz")
