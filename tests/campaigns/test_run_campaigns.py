"""The campaigns about runs in a reduced form: commands that are killed, find no room, or run twice."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
import commands
import full_disk
import kills
import two_owners


@pytest.fixture(scope="module", autouse=True)
def cleaned_up() -> Iterator[None]:
    here = Path.cwd()
    yield
    commands.clean_up()
    os.chdir(here)


@pytest.mark.parametrize("name", ["md", "relax"])
def test_a_killed_command_goes_on_to_the_same_end(name):
    assert kills.killed(name, random.Random(1)).startswith("equal after")


@pytest.mark.parametrize("name", ["md", "convert"])
def test_a_command_without_room_says_so_and_goes_on_when_there_is_some(name):
    assert full_disk.with_small_files(name, random.Random(3)) in ("said so", "had room")


def test_of_two_commands_in_one_place_one_is_refused():
    assert two_owners.twice("md", random.Random(2)) in ("in use", "done before", "one after the other")
