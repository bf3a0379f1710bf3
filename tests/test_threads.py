import os
import subprocess
import sys
from pathlib import Path

import pytest

from ser_hf import threads
from ser_hf.threads import VARIABLES, available_cores, limit_threads, thread_count

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A process that may use eight cores, of which nothing is said in the environment or by a container."""
    for variable in (*VARIABLES, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(variable, "")  # so that it is put back as it was
        monkeypatch.delenv(variable)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "CGROUPS", tmp_path)
    (tmp_path / "cpu").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "1600000 100000\n"}, 8),
        ({"cpu.max": "what is this?\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_cores_are_those_that_a_container_leaves(bare, files, cores):
    for name, text in files.items():
        (bare / name).write_text(text)
    assert available_cores() == cores


def test_cores_are_counted_where_processes_cannot_be_bound(bare, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert available_cores() == 6


def test_every_library_gets_a_thread_a_core_and_threads_soon_sleep(bare):
    limit_threads()
    assert [os.environ[variable] for variable in VARIABLES] == ["8"] * len(VARIABLES)
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    assert os.environ["GOMP_SPINCOUNT"] == "1000"


def test_processes_of_one_launch_share_the_cores(bare, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "2"


def test_what_the_environment_says_is_left(bare, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    limit_threads()
    assert [os.environ[variable] for variable in VARIABLES] == ["5", "5", "1"]
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    assert "GOMP_SPINCOUNT" not in os.environ


@pytest.mark.parametrize(("given", "count"), [("3", 3), ("", 8), ("0", 8), ("many", 8), ("4,2", 8)])
def test_libraries_that_read_no_environment_get_as_many(bare, monkeypatch, given, count):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert thread_count() == count


COMMANDS = {
    "train": "import train.finetune",
    "app": "import app.analysis",
    "predict": "from ser_hf import predict; predict.main(['absent.wav', '--format', 'jsonl'])",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_limit_threads_before_numerical_libraries_are_imported(command):
    """Libraries read the environment once, when they are imported."""
    code = f"""
import os, sys
from ser_hf import threads
limit = threads.limit_threads
def checked():
    early = {{"numpy", "torch", "sklearn", "librosa"}} & set(sys.modules)
    assert not early, early
    limit()
    threads.done = True
threads.limit_threads = checked
{COMMANDS[command]}
assert threads.done
import torch
assert torch.get_num_threads() == int(os.environ["OMP_NUM_THREADS"]) == threads.available_cores()
"""
    free = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=free, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
