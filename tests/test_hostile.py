"""Every row of `tests.hostile.table`, by every door."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.__main__ import DOORS, Door, open_doors
from tests.hostile.doors import complaint, made, rights_for
from tests.hostile.table import Input, table

REPOSITORY = Path(__file__).resolve().parent.parent
SLOW = {"api": pytest.mark.slow}  # it sends every file, and waits for the queue


@pytest.fixture(scope="module")
def doors() -> Iterator[dict[str, Door]]:
    with open_doors(DOORS) as (doors, _):
        yield doors


def test_every_input_has_a_name_of_its_own_and_they_are_many():
    names = [one.name for one in table()]
    assert len(set(names)) == len(names) >= 60


@pytest.mark.parametrize("door", [pytest.param(door, marks=SLOW.get(door, ())) for door in DOORS])
@pytest.mark.parametrize("one", table(), ids=lambda one: repr(one.name))
def test_input_is_answered_or_refused_as_expected(doors: dict[str, Door], one: Input, door: str):
    with made(one) as path, rights_for(one):
        said = doors[door](one, path)
    assert complaint(one, door, said) is None


def test_a_wrong_answer_is_complained_of(doors):
    """So that the others can fail."""
    (voice,) = [one for one in table() if one.name == "WAV PCM_16"]
    (text,) = [one for one in table() if one.name == "text named .wav"]
    with made(voice) as path:
        assert "should say" in complaint(text, "page", doors["page"](text, path))
    with made(text) as path:
        assert "should say" in complaint(voice, "page", doors["page"](voice, path))


@pytest.mark.slow
def test_all_hold_within_500_mb_and_the_time_limit_in_a_process_of_their_own():
    command = [sys.executable, "-m", "tests.hostile", "--doors", "command,page"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    tried, held = re.search(r"tried: (\d+), held: (\d+)", done.stdout).groups()
    assert int(tried) == int(held) == 2 * len(table())
    assert "Traceback" not in done.stderr
