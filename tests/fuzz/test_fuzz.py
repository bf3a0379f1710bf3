"""The fuzzer runs, ends when it should, and finds what is there to be found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.__main__ import main
from tests.fuzz.promises import any_bytes_are_sound_or_refused, whole_files

REPOSITORY = Path(__file__).resolve().parent.parent.parent
BROKEN = """
import runpy, sys
from tests.fuzz import promises
def parse(name):
    return {}[name] if "-" in name else promises.ravdess.parse_name(name)
promises.PARSERS = {"broken": parse}
sys.argv = ["run", "names", "-runs=5000", "-seed=1", "-artifact_prefix=%s/"]
runpy.run_module("tests.fuzz.run", run_name="__main__")
"""

pytest.importorskip("atheris", reason="there is no wheel of atheris for this platform")


@pytest.mark.slow
@pytest.mark.parametrize(("target", "runs"), [("decoder", 500), ("names", 5_000)])
def test_bounded_run_finds_nothing(target, runs, capsys):
    assert main([target, "--runs", str(runs), "--seconds", "600"]) == 0
    tried = re.search(rf"{target}: tried: (\d+), found: 0", capsys.readouterr().out)[1]
    assert int(tried) >= runs


@pytest.mark.slow
def test_a_broken_promise_is_found(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BROKEN % tmp_path], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "KeyError" in done.stdout + done.stderr
    (found,) = tmp_path.iterdir()
    assert b"-" in found.read_bytes()


@pytest.mark.parametrize("kind", whole_files())
def test_whole_files_are_sound(kind):
    """What the fuzzer starts from."""
    any_bytes_are_sound_or_refused(whole_files()[kind])
