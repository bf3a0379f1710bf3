"""Times, tables of them, and the machine that they are of."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from ser_hf.evaluation import markdown
from ser_hf.evaluation.runs import CPU_FLAGS, environment

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "transformers", "onnxruntime", "numpy", "scikit-learn", "librosa", "opensmile")
MIN_SECONDS = 0.02  # what is faster is called several times per round, because of the clock's noise
# Linux counts the memory of whoever started a process as that of the process; this small one starts it.
WATCHER = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass
class Table:
    """Figures with a title and a text.

    Attributes:
        title: of the section.
        text: what was measured, and how.
        head: names of the columns with their units.
        rows: the first cell is text; numbers are kept as they were measured and rounded when they are shown.
        seconds: every time that was taken, by what it was of.
    """

    title: str
    text: str
    head: list[str]
    rows: list[list[str | float | None]]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def markdown(self) -> str:
        """The table as a section of a report."""
        rows = [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in self.rows]
        return f"## {self.title}\n\n{self.text}\n\n{markdown.table(self.head, rows)}\n"


def number(value: float | None) -> str:
    """A figure with three significant digits; nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def alternate(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds that each contender took in each round, all of them one after the other in every round.

    Disturbances by the machine hit all alike. Each was called before, so that none is cold.
    """
    repeats = {}
    for name, call in contenders.items():
        call()
        repeats[name] = max(1, int(MIN_SECONDS / max(seconds_of(call), 1e-9)))
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            taken[name].append(seconds_of(call, repeats[name]))
    return taken


def seconds_of(call: Callable[[], object], repeats: int = 1) -> float:
    """Seconds per call."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def medians(taken: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each contender's seconds."""
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def run(command: list[str]) -> tuple[float, float]:
    """Seconds that a command took and the most resident memory of its process in megabytes (Linux).

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    watched = [sys.executable, "-S", "-c", WATCHER, *command]
    variables = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(watched, cwd=REPOSITORY, env=variables, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command)
    seconds, kilobytes = done.stdout.split()
    return float(seconds), int(kilobytes) / 1024


def describe() -> str:
    """Processor, cores, instruction sets, memory, system and versions, in one paragraph."""
    facts = environment()
    has = ", ".join(f"{flag} {'yes' if flag in facts['cpu_flags'] else 'no'}" for flag in CPU_FLAGS)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{facts['processor']}, {facts['cores']} cores ({has}), {memory:.0f} GB of memory; {platform.system()} "
        f"{platform.release()}, Python {facts['python']}, {versions}"
    )
