"""What every table of figures shares: its settings, how times are taken, how it is written as JSON and Markdown."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ser_hf.command_line import CommandParser
from ser_hf.files import write_json
from ser_hf.threads import available_cores

MIN_SECONDS = 0.02  # what is faster is called several times a round, for the clock's and the machine's noise


@dataclass(frozen=True)
class Settings:
    """How a table is measured.

    Attributes:
        work: folder for what is made on the way, such as models with random weights; kept for the next table.
        threads: of numerical libraries.
        rounds: how often everything is timed, of which the median is told.
        data: folder with the corpora; None for where `ser_hf.corpora` looks.
        tiny: shapes too small to say anything, to see that all runs.
    """

    work: Path
    threads: int = 1
    rounds: int = 7
    data: Path | None = None
    tiny: bool = False


@dataclass
class Table:
    """Figures with the words around them.

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
        lines = [self.head, ["---", *["---:"] * (len(self.head) - 1)]]
        lines += [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in self.rows]
        return (
            f"## {self.title}\n\n{self.text}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
        )


def number(value: float | None) -> str:
    """A figure with three digits that count; nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def alternate(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds that each contender took in each round, all of them one after the other in every round.

    What the machine does beside hits all alike. Each was called before, so that none is cold.
    """
    repeats = {}
    for name, call in contenders.items():
        call()
        seconds = _seconds(call)
        repeats[name] = max(1, int(MIN_SECONDS / max(seconds, 1e-9)))
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in tqdm(range(rounds), desc="Rounds", leave=False, disable=not sys.stderr.isatty()):
        for name, call in contenders.items():
            taken[name].append(_seconds(call, repeats[name]))
    return taken


def _seconds(call: Callable[[], object], repeats: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def medians(taken: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each contender's seconds."""
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def limit_to(threads: int) -> None:
    """Give numerical libraries of this process, those imported already too, so many threads."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for child processes and onnxruntime
    torch.set_num_threads(threads)
    threadpool_limits(threads)


def table_parser(module: str, doc: str | None) -> CommandParser:
    """The command line of a table: its module's name and docstring, and what every table takes."""
    parser = CommandParser(prog=f"python -m {module}", doc=doc)
    parser.add_argument("--rounds", type=int, default=7, help="measurements, of which the median is told")
    parser.add_argument(
        "--data_dir",
        type=Path,
        metavar="DIR",
        default=os.environ.get("SER_HF_DATA") or None,
        help="folder with the corpora (default: $SER_HF_DATA)",
    )
    parser.add_argument(
        "--work_dir", type=Path, metavar="DIR", help="keep here what is made on the way (default: nowhere)"
    )
    parser.add_argument("--tiny", action="store_true", help="shapes too small to say anything, to see that all runs")
    parser.add_argument(
        "--threads", type=int, default=available_cores(), help="of numerical libraries (default: one a core)"
    )
    parser.add_argument("--output", type=Path, metavar="F", help="JSON file to write (default: none)")
    return parser


def main(measure: Callable[[Settings], Table], argv: Sequence[str] | None = None) -> int:
    """A table's own command; returns the exit status."""
    run_table(measure, sys.modules[measure.__module__].build_parser().parse_args(argv))
    return 0


def run_table(measure: Callable[[Settings], Table], given: argparse.Namespace) -> Table:
    """Measure a table as `add_arguments` were given, print it, and write its JSON where that is asked for."""
    limit_to(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        work = given.work_dir or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        table = measure(Settings(work, given.threads, given.rounds, given.data_dir, given.tiny))
    print(table.markdown())
    if given.output:
        write_json(given.output, asdict(table))
    return table


def read_table(file: Path) -> Table:
    """Read what a table's command wrote."""
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return Table(**kept)
