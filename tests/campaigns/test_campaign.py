"""What campaigns share sees every way in which a case can fail, and goes on after it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from campaign import Limits, main, run_cases, table

ENDS = ["fine", "raises", "crashes", "leaves", "hangs", "spins", "eats", "refused"]
LIMITS = Limits(time_s=0.5, memory_bytes=2**30)


def work(kind: str) -> str:
    if kind == "raises":
        raise ValueError("7 is\nodd")
    if kind == "crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "leaves":
        os._exit(3)
    if kind == "hangs":
        time.sleep(60)
    while kind == "spins" and time.process_time() < 60:
        pass
    if kind == "eats":
        np.ones(2**28)
    return kind


def make(seed: int):
    kind = ENDS[seed]  # of a seed that is too large: not made
    return kind, lambda: work(kind)


@pytest.fixture(scope="module")
def results():
    return list(run_cases(make, range(len(ENDS) + 1), LIMITS))


def test_each_way_to_fail_is_told_with_its_seed_and_the_rest_goes_on(results) -> None:
    assert [result.seed for result in results] == [*range(9)]
    assert [result.kind for result in results] == [*ENDS, "not made"]
    ends = {result.kind: result.end for result in results if result.failed}
    assert ends.keys() == {"raises", "crashes", "leaves", "hangs", "spins", "eats", "not made"}
    assert ends["raises"].startswith("ValueError: 7 is odd (") and "test_campaign.py:" in ends["raises"]
    assert ends["crashes"] == "the process was killed by SIGSEGV"
    assert ends["leaves"] == "the process ended with status 3"
    assert ends["hangs"] == "no end within 6 s" and ends["spins"] == "no end within 0.5 s of CPU time"
    assert "MemoryError" in ends["eats"] and "IndexError" in ends["not made"]
    assert str(results[2]).startswith("FAILED --count 1 --seed 2 (crashes): ")


def test_the_table_counts_by_kind_and_end(results) -> None:
    found = table(results)
    assert list(found.head) == ["kind", "cases", "fine", "refused", "failed"]
    assert ["fine", "1", "1", "0", "0"] in found.rows and ["hangs", "1", "0", "0", "1"] in found.rows
    assert found.rows[-1] == ["all", "9", "1", "1", "7"]
    assert {found.rows[k][0] for k in found.marked} == {*ENDS, "not made"} - {"fine", "refused"}


@pytest.mark.parametrize(("seed", "status"), [(0, 0), (1, 1)])
def test_the_exit_status_tells_of_failures(seed, status, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["x", "--count", "1", "--seed", str(seed)])
    with pytest.raises(SystemExit) as left:
        main(make, "a test", LIMITS)
    assert left.value.code == status
    assert ("FAILED --count 1 --seed 1 (raises)" in capsys.readouterr().out) == bool(status)


def test_children_of_a_case_end_with_it(tmp_path: Path) -> None:
    from campaign import Child

    child = Child(sleeper, Limits(time_s=0.3))
    result = child.run(0)
    assert result.failed and not child.alive
    pid = int(result.kind)
    for _ in range(50):
        if not Path(f"/proc/{pid}/stat").exists() or Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("it still runs")


def sleeper(seed: int):
    sleeping = subprocess.Popen(["sleep", "60"])
    return str(sleeping.pid), lambda: str(sleeping.wait())
