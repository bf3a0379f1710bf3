"""The machine that the figures are of, and how fast it multiplies matrices."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
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


def matrix_rates(precisions: Iterable[str], rounds: int, size: int = MATRIX) -> dict[str, float]:
    """Operations a second of a matrix product in each precision, such as "float32", with the threads that torch has."""
    pairs = {name: torch.randn(2, size, size, dtype=getattr(torch, name)) for name in precisions}
    taken = alternate({name: lambda pair=pair: pair[0] @ pair[1] for name, pair in pairs.items()}, rounds)
    return {name: 2 * size**3 / seconds for name, seconds in medians(taken).items()}
