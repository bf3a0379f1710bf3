"""The machine that the figures are of, and how fast it multiplies matrices."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.tables import alternate, medians
from ser_hf.runs import CPU_FLAGS
from ser_hf.threads import available_cores

PACKAGES = ("torch", "transformers", "onnxruntime", "numpy", "scikit-learn", "librosa", "opensmile")
MATRIX = 2048


def describe() -> str:
    """Processor, cores, what of it matters for speed, memory, system and versions, in one paragraph."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        flags = set(re.search(r"^flags\s*: (.*)$", info, re.MULTILINE)[1].split())
        processor = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)[1]
        memory = int(re.search(r"^MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)[1]) / 2**20
    except (OSError, TypeError):  # no Linux, or a processor that is described otherwise
        flags, processor, memory = set(), platform.processor() or platform.machine(), None
    has = ", ".join(f"{flag} {'yes' if flag in flags else 'no'}" for flag in CPU_FLAGS)
    size = f", {memory:.0f} GB of memory" if memory else ""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{processor}, {available_cores()} cores ({has}){size}; {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def matrix_rates(rounds: int, size: int = MATRIX) -> dict[str, float]:
    """Operations a second of a matrix product, in float32 and in bfloat16, with the threads that torch has."""
    left, right = torch.randn(2, size, size).unbind()
    low_left, low_right = left.bfloat16(), right.bfloat16()
    taken = alternate({"float32": lambda: left @ right, "bfloat16": lambda: low_left @ low_right}, rounds)
    return {name: 2 * size**3 / seconds for name, seconds in medians(taken).items()}
