"""`ru-calc compare` on the command line: both protocols in small, and what is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ru_calc.cli import main
from ru_calc.modelfiles.read import read_header
from ru_calc.studies.compare.settings import MDProtocol


def run(*arguments: object):
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_the_md_protocol_prints_its_tables_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    first = run("distilled", "-o", folder, "--quick", "--families", "calhousnet")
    assert first.exit_code == 0, first.output
    again = run("distilled", "-o", folder, "--families", "calhousnet,ani", "--resume")
    assert again.exit_code == 0, again.output
    assert "calhousnet: errors" not in again.output and "ani: errors" in again.output
    assert "## What decides in practice" in again.output
    assert list(json.loads((folder / "results.json").read_text())["families"]) == ["calhousnet", "ani"]


def test_the_paper_protocol_prints_table_1(tmp_path: Path) -> None:
    pytest.importorskip("dscribe")
    done = run("distilled", "-o", tmp_path / "c", "--protocol", "paper", "--quick", "--families", "ANI,CalHousNet")
    assert done.exit_code == 0, done.output
    assert "| ANI | " in done.output and "(0.79)" in done.output
    assert (tmp_path / "c" / "figure.png").is_file()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--families", "nonesuch"], "cannot be compared; choose from schnet, ani"),
        (["--families", "ani,ani"], "name each once"),
        (["--families", "nonesuch", "--protocol", "paper"], "family 'nonesuch' cannot be compared; choose from KAN"),
        (["--budget-min", "0"], "budget-min"),
        (["--budget-min", "3", "--protocol", "paper"], "belongs to --protocol md"),
        (["--licence", "MIT", "--protocol", "paper"], "belongs to --protocol md"),
        (["--budget-min", "3", "--quick"], "--quick makes one epoch"),
        (["--resume"], "no comparison to resume"),
    ],
)
def test_bad_options_are_refused_before_the_data_are_read(tmp_path: Path, options: list[str], words: str) -> None:
    if "paper" in options and "KAN" in words:
        pytest.importorskip("dscribe")
    done = run("nonesuch.h5", "-o", tmp_path / "c", *options)
    assert done.exit_code != 0
    assert words in done.output
    assert not (tmp_path / "c").exists()


def test_changed_settings_are_refused_when_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "protocol.json").write_text(json.dumps({"settings": MDProtocol(budget_min=5).record(), "data": "x"}))
    done = run("nonesuch.h5", "-o", tmp_path, "--resume", "--budget-min", "7", "--seed", "1")
    assert done.exit_code != 0 and "budget_min: 5 → 7.0; seed: 0 → 1" in done.output
    assert "no data file" in run("nonesuch.h5", "-o", tmp_path, "--resume", "--budget-min", "5").output


def test_it_goes_on_with_the_families_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    assert run("distilled", "-o", folder, "--quick", "--families", "calhousnet").exit_code == 0
    again = run("distilled", "-o", folder, "--resume")
    assert again.exit_code == 0, again.output
    assert list(json.loads((folder / "results.json").read_text())["families"]) == ["calhousnet"]
    assert "A quick look" in again.output


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "c"
    with monkeypatch.context() as patched:
        patched.setattr("ru_calc.dataset.opening.read_dataset", stop)
        assert "before the comparison began" in run("distilled", "-o", folder, "--quick").output
    with monkeypatch.context() as patched:
        patched.setattr("ru_calc.studies.compare.run.fit_family", stop)
        stopped = run("distilled", "-o", folder, "--quick", "--families", "calhousnet", "--licence", "MIT, mine")
    assert stopped.exit_code == 130
    assert f"compare distilled -o {folder} --protocol md --families calhousnet --resume" in stopped.output
    assert not (folder / "table.md").exists()
    assert run("distilled", "-o", folder, "--families", "calhousnet", "--resume").exit_code == 0
    assert read_header(folder / "fits" / "calhousnet" / "best.safetensors")["licence"] == "MIT, mine"


def test_missing_data_are_refused(tmp_path: Path) -> None:
    done = run("nonesuch.h5", "-o", tmp_path / "c")
    assert done.exit_code != 0 and "nonesuch.h5" in done.output and not (tmp_path / "c").exists()


def test_the_protocols_do_not_share_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("dscribe")
    folder = tmp_path / "c"
    assert run("distilled", "-o", folder, "--protocol", "paper", "--quick", "--families", "ANI").exit_code == 0
    done = run("distilled", "-o", folder, "--quick", "--resume")
    assert done.exit_code != 0 and "cannot resume with changed settings" in done.output
