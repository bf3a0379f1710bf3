"""Every table of how fast it is, one after the other, and the report of them: make bench.

Examples:

    python -m benchmarks.speed
    python -m benchmarks.speed --only answer,stages --output reports/speed.md

Each table is measured in a process of its own, its figures are kept as JSON in a folder beside the report, and a table
that is left out keeps those that it had.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.tables import read_table, table_parser
from ser_hf.command_line import CommandParser
from ser_hf.files import write_json
from ser_hf.names import unknown_name
from ser_hf.threads import available_cores
from tests.app.browser import find_chromium

REPORT = Path(__file__).resolve().parent.parent / "reports" / "speed.md"
MINUTES = 35  # of all tables, on two cores that do nothing else
MACHINE = "machine"


@dataclass(frozen=True)
class Job:
    """One table: the module that measures it, with how many threads (None: one a core), and what it needs."""

    module: str
    threads: int | None = None
    needs: str | None = None

    @property
    def name(self) -> str:
        """Of its JSON."""
        return f"{self.module}-{self.threads}" if self.threads else self.module


JOBS = (
    Job("answer", 1),
    Job("answer", 2),
    Job("stages", 1),
    Job("stages", 2),
    Job("start"),
    Job("bulk"),
    Job("extraction", 1),
    Job("training"),
    Job("comparison", needs="data"),
    Job("exactness", needs="data"),
    Job("page", needs="Chromium"),
)
INTRODUCTION = """\
# How fast it is

Measured by `make bench` (about {minutes} minutes), one process a table and nothing else running, on

> {machine}

What is compared takes turns in one process where it can, and the ratios are of medians. Stock models have random
weights in the shapes of published ones (XLSR-53 large with 315.7 million parameters, wav2vec2-base with 94.6, the
encoder of Whisper base with its window of 30 s), which changes nothing about their speed, and run in float32 by
`pipeline("audio-classification")`. "Our" models are the two in `models/`. All have the same threads, which are soon
asleep while they wait. The times themselves are in [{folder}/]({folder}/).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the tables and write the report; returns the exit status: 0, or 1 if a table could not be measured."""
    parser = build_parser()
    given = parser.parse_args(argv)
    modules = table_names()
    wanted = given.only.split(",") if given.only else modules
    unknown = [name for name in wanted if name not in modules]
    if unknown:
        parser.error(unknown_name("table", unknown[0], modules))
    if wanted == modules and not given.tiny:
        print(f"All tables take about {MINUTES} minutes on two cores that do nothing else meanwhile", flush=True)
    folder = given.output.with_name(given.output.stem)
    if set(wanted) != set(modules) and (other := measured_on(folder)) not in (None, describe()):
        parser.error(
            f"{given.output} holds tables of another machine or other versions ({other}): measure them all anew, or "
            "give these another --output"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{MACHINE}.json", describe())
    failed = []
    with tempfile.TemporaryDirectory() as temporary:
        for job in JOBS:
            if job.module in wanted and not measure(job, given, given.work_dir or Path(temporary), folder):
                failed.append(job.name)
    write_report(given.output, folder)
    print(f"Written to {given.output}" + (f"; without {', '.join(failed)}, see above" if failed else ""))
    return int(bool(failed))


def table_names() -> list[str]:
    """The tables that can be asked for, in their order."""
    return list(dict.fromkeys(job.module for job in JOBS))


def build_parser() -> CommandParser:
    """The command line."""
    parser = table_parser("benchmarks.speed", __doc__)
    parser.add_argument(
        "--only",
        metavar="NAMES",
        help=f"these tables, separated by commas, of {', '.join(table_names())} (default: all)",
    )
    parser.set_defaults(output=REPORT, threads=None)
    return parser


def measure(job: Job, given: argparse.Namespace, work: Path, folder: Path) -> bool:
    """Measure one table in its own process, unless what it needs is not here; returns whether nothing failed."""
    missing = {"data": given.data_dir is None, "Chromium": find_chromium() is None}
    if job.needs and missing[job.needs]:
        print(f"{job.name}: left out, for there is no {job.needs}", flush=True)
        return True
    words = ["--output", folder / f"{job.name}.json", "--work_dir", work, "--rounds", given.rounds]
    words += ["--threads", given.threads or job.threads or available_cores()]
    words += ["--data_dir", given.data_dir] if given.data_dir else []
    words += ["--tiny"] if given.tiny else []
    start = time.perf_counter()
    command = [sys.executable, "-m", f"benchmarks.{job.module}", *map(str, words)]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parent.parent, stdout=subprocess.DEVNULL, check=False)
    status = f"failed with {done.returncode}" if done.returncode else "done"
    print(f"{job.name}: {status} after {time.perf_counter() - start:.0f} s", flush=True)
    return not done.returncode


def measured_on(folder: Path) -> str | None:
    """The machine that a folder's tables are of; None if it holds none."""
    file = folder / f"{MACHINE}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def write_report(output: Path, folder: Path) -> None:
    """Write every table that a folder holds, in the order of `JOBS`."""
    parts = [INTRODUCTION.format(minutes=MINUTES, machine=measured_on(folder), folder=folder.name)]
    for job in JOBS:
        file = folder / f"{job.name}.json"
        if file.exists():
            parts.append(read_table(file).markdown())
    output.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
