"""Files that are whole or not there, and one owner of a file or folder."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from forked import another_process, ended, forked
from safetensors import SafetensorError

from ru_calc import files
from ru_calc.errors import OutputError
from ru_calc.files import check_folder, clear_unfinished, free_folder, owned, owned_file, whole_file, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_of_another_process_is_refused_until_that_is_killed(tmp_path):
    run = tmp_path / "run"
    with another_process(lambda: owned(run)):
        for enter in (lambda: owned(run), lambda: owned(run, shared=True)):
            with (
                pytest.raises(OutputError, match=r"run is in use by another run; wait for it to end, or choose"),
                enter(),
            ):
                pass
        with pytest.raises(OutputError, match="in use"):
            check_folder(run)
    check_folder(run)
    with owned(run):
        assert names(run) == [], "a lock is no file"


def test_those_who_share_a_folder_keep_out_one_who_would_own_it(tmp_path):
    with another_process(lambda: owned(tmp_path, shared=True)):
        with owned(tmp_path, shared=True):
            check_folder(tmp_path)
        with pytest.raises(OutputError, match="in use"), owned(tmp_path):
            pass


def test_the_owner_may_own_it_again_but_another_thread_may_not(tmp_path):
    found = []

    def other() -> None:
        with suppress(OutputError), owned(tmp_path):
            found.append("the other thread")

    with owned(tmp_path), owned(tmp_path):
        check_folder(tmp_path)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert not found
    other()
    assert found


def test_folders_that_stay_empty_are_removed_with_those_above_and_others_are_kept(tmp_path):
    with owned(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert names(tmp_path) == []
    (tmp_path / "mine").mkdir()
    with owned(tmp_path / "mine"), owned(tmp_path / "used"):
        (tmp_path / "used" / "x").write_text("")
    assert names(tmp_path) == ["mine", "used"]


def test_a_forked_child_owns_nothing(tmp_path):
    with owned(tmp_path):

        def refused() -> int:
            try:
                with owned(tmp_path):
                    return 0
            except OutputError:
                return 5

        assert ended(forked(refused)) == 5


def test_the_next_free_name_is_neither_taken_nor_owned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r").mkdir()
    Path("r", "x").write_text("")
    Path("r-2").mkdir()
    with another_process(lambda: free_folder("r")), another_process(lambda: free_folder("r")), free_folder("r") as mine:
        assert str(mine) == "r-4" and names(tmp_path) == ["r", "r-2", "r-3", "r-4"]
    assert names(tmp_path) == ["r", "r-2", "r-3"], "those of killed processes stay, empty"
    with free_folder("r") as mine:
        assert str(mine) == "r-2"


def test_a_file_that_another_process_writes_is_refused_or_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    monkeypatch.setattr(files, "WAIT_S", 0.05)
    with another_process(lambda: owned_file(path)):
        with pytest.raises(OutputError, match=r"x.json is in use"), owned_file(path):
            pass
        with pytest.raises(OutputError, match=r"x.json is in use"):
            write_json(path, 1)
        write_json(tmp_path / "y.json", 2)
    write_json(path, 3)
    assert path.read_text() == "3" and names(tmp_path) == ["x.json", "y.json"]


def test_what_a_killed_process_left_is_removed_by_the_next_on_the_same_file_or_folder(tmp_path):
    def killed_while_writing() -> None:
        with whole_file(tmp_path / "x.json") as temporary:
            temporary.write_text("half")
            os.kill(os.getpid(), 9)

    for cleared in (
        lambda: write_json(tmp_path / "x.json", 1),
        lambda: clear_unfinished(tmp_path),
        lambda: own(tmp_path),
    ):
        assert ended(forked(killed_while_writing)) == -9
        assert ".x.json.tmp" in names(tmp_path)
        cleared()
        assert names(tmp_path) == ["x.json"]
    with another_process(lambda: owned_file(tmp_path / "x.json")):
        clear_unfinished(tmp_path)
        assert ".x.json.tmp" in names(tmp_path), "it is not left, but being written"


def own(folder: Path) -> None:
    with owned(folder):
        pass


def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError
    for number, words in ((errno.ENOSPC, "No space left on device; make room on that disk"), (errno.EIO, "put")):
        with pytest.raises(OutputError, match=f"x could not be written: .*{words}"), whole_file(path):
            raise OSError(number, os.strerror(number))
    assert path.read_text() == "old" and names(tmp_path) == ["x"]
    with whole_file(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and names(tmp_path) == ["x"]


def test_an_error_that_a_library_gives_as_text_is_told_as_the_systems(tmp_path):
    with pytest.raises(OutputError, match="No space left on device; make room"), whole_file(tmp_path / "x"):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    with pytest.raises(SafetensorError, match="dtype"), whole_file(tmp_path / "x"):
        raise SafetensorError("unknown dtype")
    assert names(tmp_path) == []


def test_without_locks_nothing_is_refused(tmp_path, monkeypatch):
    def unknown(handle: int, how: int) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    with another_process(lambda: owned(tmp_path)):
        monkeypatch.setattr(files.fcntl, "flock", unknown)
        own(tmp_path)
        monkeypatch.setattr(files, "fcntl", None)
        own(tmp_path)
