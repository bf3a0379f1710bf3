"""The way to a first answer: a fresh process for each, with the memory that it took.

Examples:

    python -m benchmarks.start
    python -m benchmarks.start --rounds 3
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.inputs import ONNX, OURS, STOCK, SVM, clip_file, onnx_folder, precision_of, stock_folder
from benchmarks.tables import Settings, Table, main, table_parser
from ser_hf.classifier import DEFAULT_BASELINE, DEFAULT_MODEL
from ser_hf.command_line import CommandParser

ROUNDS = 3  # at most: each start takes seconds
PREDICT = [sys.executable, "-m", "ser_hf.predict"]
# What people write, with no more imports than they need.
STOCK_PIPELINE = """
import sys, soundfile
from transformers import pipeline
classify = pipeline("audio-classification", model=sys.argv[1], device="cpu")
samples, rate = soundfile.read(sys.argv[2], dtype="float32")
print(classify({"raw": samples, "sampling_rate": rate}))
"""
# A process is told to have used as much memory as the one that began it, and this one holds libraries and weights.
WATCHER = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def build_parser() -> CommandParser:
    """The command line."""
    return table_parser("benchmarks.start", __doc__)


def measure(settings: Settings) -> Table:
    """Seconds from the command to its end, and megabytes at most."""
    clip = str(clip_file(settings.work))
    commands = {
        "ser_hf.predict --help": [*PREDICT, "--help"],
        **{name: [*PREDICT, clip, "--precision", precision_of(name), "--model", str(DEFAULT_MODEL)] for name in OURS},
        ONNX: [*PREDICT, clip, "--runtime", "onnx", "--model", str(onnx_folder(settings.work))],
        SVM: [*PREDICT, clip, "--model", str(DEFAULT_BASELINE)],
    }
    for name in STOCK:
        commands[name] = [sys.executable, "-c", STOCK_PIPELINE, str(stock_folder(name, settings)), clip]
    taken: dict[str, list[float]] = {name: [] for name in commands}
    memory: dict[str, float] = {}
    for _ in range(min(settings.rounds, ROUNDS)):
        for name, command in commands.items():
            seconds, megabytes = run(command, settings.threads)
            taken[name].append(seconds)
            memory[name] = max(memory.get(name, 0), megabytes)
    return Table(
        "First answer of a fresh process",
        f"From the command to its end, with {settings.threads} threads: imports, weights, one clip. Files are in the "
        f"system's cache. Medians of {min(settings.rounds, ROUNDS)} rounds; the most memory that was resident.",
        ["what", "s", "MB"],
        [[name, statistics.median(seconds), memory[name]] for name, seconds in taken.items()],
        taken,
    )


def run(command: list[str], threads: int) -> tuple[float, float]:
    """Seconds that a command took and the most resident memory of its process in megabytes (Linux).

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    root = Path(__file__).resolve().parent.parent
    watched = [sys.executable, "-S", "-c", WATCHER, *command]
    done = subprocess.run(watched, cwd=root, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command)
    seconds, kilobytes = done.stdout.split()
    return float(seconds), int(kilobytes) / 1024


if __name__ == "__main__":
    sys.exit(main(measure))
