import os
import subprocess
import sys
from pathlib import Path

import pytest

from ser_hf.utils import threads
from ser_hf.utils.threads import VARIABLES, available_cores, limit_threads, thread_count

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A process that may use eight cores, of which nothing is said in the environment or by a container."""
    for variable in (*VARIABLES, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(variable, "")  # so that it is put back as it was
        monkeypatch.delenv(variable)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "CGROUPS", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("max 100000\n", 8), ("200000 100000\n", 2), ("50000 100000\n", 1), ("1600000 100000\n", 8), ("what?\n", 8)],
)
def test_available_cores_heeds_the_container(bare, limit, cores):
    assert available_cores() == 8
    (bare / "cpu.max").write_text(limit)
    assert available_cores() == cores


@pytest.mark.parametrize(
    ("given", "counts", "policy"),
    [
        ({}, ["8", "8", "8"], "PASSIVE"),
        ({"LOCAL_WORLD_SIZE": "3"}, ["2", "2", "2"], "PASSIVE"),
        ({"OMP_NUM_THREADS": "5", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "ACTIVE"}, ["5", "5", "1"], "ACTIVE"),
    ],
)
def test_limit_threads_fills_the_environment(bare, monkeypatch, given, counts, policy):
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    limit_threads()
    assert [os.environ[variable] for variable in VARIABLES] == counts
    assert os.environ["OMP_WAIT_POLICY"] == policy
    assert ("GOMP_SPINCOUNT" in os.environ) == (policy == "PASSIVE")


@pytest.mark.parametrize(("given", "count"), [("3", 3), ("", 8), ("0", 8), ("many", 8)])
def test_thread_count_reads_the_environment(bare, monkeypatch, given, count):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert thread_count() == count


@pytest.mark.parametrize(
    "command",
    ["import train", "import app", "from ser_hf import predict; predict.main(['absent.wav', '--model', 'ser-svm'])"],
)
def test_commands_limit_threads_before_numpy(command):
    """Libraries read the environment once, when they are imported."""
    code = f"""
import sys
from ser_hf.utils import threads
threads.limit_threads = lambda: sys.exit(",".join({{"numpy", "torch", "sklearn", "librosa"}} & set(sys.modules)) or 7)
{command}
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
