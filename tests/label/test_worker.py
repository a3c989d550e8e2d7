"""Attempts in processes of their own, here and on a cluster: one that dies costs an attempt, and none is left over."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import read

from ru_calc.errors import SettingsError
from ru_calc.label import LabelSettings, label_frames
from ru_calc.label.executors import executor
from ru_calc.label.tasks import Task
from ru_calc.label.worker import Worker, attempt_once


@pytest.fixture(autouse=True)
def calculators_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers find `odd_calculators`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def frames(count: int):
    return [bulk("Ru", "fcc", a=3.7 + 0.02 * k) for k in range(count)]


def task(fault: str = "", limit_s: float | None = None, **arguments: object) -> Task:
    return Task("a", frames(1)[0], "odd_calculators:Odd", {"fault": fault, **arguments}, None, limit_s=limit_s)


def test_a_worker_serves_many_tasks_and_replaces_a_process_that_was_killed():
    worker = Worker()
    try:
        good = worker.attempt(task())
        assert good.results["energy"] == worker.attempt(task()).results["energy"] and good.cpu_s >= 0
        lost = worker.attempt(task("die"))
        assert lost.results == {} and not lost.hopeless
        assert lost.reason == "the worker ended by signal 9, perhaps for lack of memory"
        assert worker.attempt(task()).results["energy"] == good.results["energy"]
    finally:
        worker.close()


def test_an_attempt_ends_after_its_time():
    slow = attempt_once(task("hang", limit_s=0.6))
    assert slow.reason.startswith("over 0.01 min of CPU") or slow.wall_s > 6, (
        slow
    )  # a busy machine ends it by the clock
    assert slow.hopeless and slow.cpu_s < 3
    waiting = attempt_once(task(sleep_s=600.0, limit_s=0.12))
    assert waiting.reason == "over 0.02 min by the clock" and waiting.hopeless and waiting.cpu_s < 1


def test_a_killed_worker_costs_one_attempt_and_not_the_run(tmp_path):
    settings = LabelSettings(
        calculator="odd_calculators:Odd", arguments={"fault": "die", "once": str(tmp_path / "once")}, workers=2
    )
    said: list[str] = []
    result = label_frames(frames(5), tmp_path / "l.extxyz", settings, said.append)
    assert (result.done, result.failed) == (5, [])
    assert sum("attempt 1 failed (the worker ended by signal 9" in line for line in said) == 1
    assert sorted(atoms.info["attempt"] for atoms in read(tmp_path / "l.extxyz", ":")) == [0, 0, 0, 0, 1]


def test_threads_of_a_worker_are_set_before_anything_is_imported(monkeypatch):
    from ru_calc.label import worker

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    seen: dict[str, str] = {}
    original = worker.subprocess.Popen
    monkeypatch.setattr(worker.subprocess, "Popen", lambda *a, **k: seen.update(k["env"]) or original(*a, **k))
    assert attempt_once(task()).results
    assert {seen[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"1"}


def test_closing_ends_what_is_running():
    settings = LabelSettings(calculator="odd_calculators:Odd", arguments={"fault": "hang"}, workers=2)
    started = time.monotonic()
    with executor(settings) as submit:
        futures = [submit(task("hang")) for _ in range(3)]
        time.sleep(0.5)
    assert time.monotonic() - started < 30 and all(future.done() for future in futures)


CLUSTER_FRAMES = 4


def assert_labelled_on_cluster(settings: LabelSettings, path: Path) -> None:
    """All frames are labelled although one attempt kills its process, and a frame that always fails is listed."""
    result = label_frames(frames(CLUSTER_FRAMES), path, settings)
    assert (result.done, result.failed) == (CLUSTER_FRAMES, [])
    assert sorted(atoms.info["attempt"] for atoms in read(path, ":")) == [0] * (CLUSTER_FRAMES - 1) + [1]


def dying(tmp_path: Path) -> dict[str, object]:
    return {"calculator": "odd_calculators:Odd", "arguments": {"fault": "die", "once": str(tmp_path / "once")}}


def test_a_dask_cluster_labels(tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        settings = LabelSettings(**dying(tmp_path), dask=cluster.scheduler_address)
        assert_labelled_on_cluster(settings, tmp_path / "l.extxyz")
    with pytest.raises(SettingsError, match="the Dask scheduler nonsense://x cannot be reached"):
        label_frames(frames(1), tmp_path / "m.extxyz", LabelSettings(**dying(tmp_path), dask="nonsense://x"))


PARSL = """
from parsl import Config, HighThroughputExecutor
from parsl.providers import LocalProvider
config = Config(
    executors=[HighThroughputExecutor(
        label="here", address="127.0.0.1", max_workers_per_node=1, encrypted=False,
        provider=LocalProvider(init_blocks=1, max_blocks=1), working_dir={folder!r},
    )],
    run_dir={folder!r}, usage_tracking=0,
)
"""


def test_a_parsl_configuration_labels(tmp_path):
    pytest.importorskip("parsl")
    file = tmp_path / "site.py"
    file.write_text(PARSL.format(folder=str(tmp_path / "runinfo")))
    assert_labelled_on_cluster(LabelSettings(**dying(tmp_path), parsl=file), tmp_path / "l.extxyz")
    for text, words in (("config = 3", "does not define config"), ("1 / 0", "cannot be run")):
        file.write_text(text)
        with pytest.raises(SettingsError, match=words):
            label_frames(frames(1), tmp_path / "m.extxyz", LabelSettings(**dying(tmp_path), parsl=file))
    with pytest.raises(SettingsError, match="cannot be run"):
        label_frames(frames(1), tmp_path / "m.extxyz", LabelSettings(**dying(tmp_path), parsl=tmp_path / "no.py"))


@pytest.mark.parametrize(("name", "extra"), [("dask", "dask"), ("parsl", "parsl")])
def test_a_cluster_without_its_package_says_what_to_install(tmp_path, monkeypatch, name, extra):
    import sys

    for module in ("distributed", "parsl"):
        monkeypatch.setitem(sys.modules, module, None)
    settings = LabelSettings(calculator="a:B", **{name: "x"})
    with pytest.raises(SettingsError, match=rf"is not installed .* pip install 'ru-calc\[{extra}\]'"):
        label_frames(frames(1), tmp_path / "l.extxyz", settings)
