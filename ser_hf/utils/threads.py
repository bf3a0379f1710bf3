"""How many threads numerical libraries may start, and how those wait: set once for the whole process, by the commands.

Left to themselves, libraries count the machine's cores, not those that a container or `taskset` leaves to the process,
and OpenMP's threads spin while they wait: two processes on the same cores are then many times slower than one by one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# How long a thread of OpenMP waits awake, in turns of a loop (GNU's, some 10 to 50 microseconds): with 0, one process
# took up to a fifth longer for a clip; with 10,000, two at once took 1.7 times as long.
TURNS_AWAKE = 1000
CGROUPS = Path("/sys/fs/cgroup")


def limit_threads() -> None:
    """Set the environment that numerical libraries read when they are imported, and that child processes inherit.

    One thread for each core that this process may use; of several processes of one launch (torchrun, accelerate), each
    gets its share. Threads that wait are soon asleep. What the environment says already is left as it is.
    """
    count = max(1, available_cores() // int(os.environ.get("LOCAL_WORLD_SIZE") or 1))
    for variable in VARIABLES:
        os.environ.setdefault(variable, os.environ.get("OMP_NUM_THREADS") or str(count))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", str(TURNS_AWAKE))


def thread_count() -> int:
    """Threads for a library that does not read the environment itself, at least 1."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else available_cores()


def survive_forks() -> None:
    """Make every child that this process forks compute on one thread.

    Only the thread that forks exists in the child: OpenMP would wait for the others of its pool for ever.
    """
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=_use_one_thread)


def _use_one_thread() -> None:
    from threadpoolctl import threadpool_limits  # scikit-learn depends on it

    threadpool_limits(1, "openmp")
    if "torch" in sys.modules:  # which has a count of its own for MKL and for new threads
        sys.modules["torch"].set_num_threads(1)


def available_cores() -> int:
    """Cores that this process may use, at least 1: those that it is bound to, or fewer if its container gets less."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    return max(1, min(cores, int(_container_share() or cores)))


def _container_share() -> float | None:
    """The processor time, in cores, that the control group (version 2) of a container allows; None without a limit."""
    try:
        quota, period = (CGROUPS / "cpu.max").read_text().split()
        return None if quota == "max" else max(1.0, int(quota) / int(period))
    except (OSError, ValueError):
        return None
