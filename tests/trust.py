"""What the promises of SECURITY.md have been held to, in figures: run what counts them and write reports/trust.md.

Examples:

    python -m tests.trust
    python -m tests.trust --only hostile,kills

Each part is a command of its own, which prints what it counted; that is kept word for word beside the report, below the
machine that it ran on, and a part that is left out keeps what it had. Exit status: 0, or 1 if a part failed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.measuring import describe
from ser_hf.command_line import CommandParser
from ser_hf.files import write_text
from ser_hf.names import unknown_name

REPOSITORY = Path(__file__).resolve().parent.parent
REPORT = REPOSITORY / "reports" / "trust.md"
COVERAGE = "-m pytest -q -n 2 --dist loadfile --cov=ser_hf --cov=train --cov-branch --cov-report=term:skip-covered"


@dataclass(frozen=True)
class Part:
    """One promise and what counts how it is held.

    Attributes:
        title: of its section.
        promise: what is counted.
        command: arguments of Python.
        first: the first words of the first line that is kept of what it prints; what stands above is progress.
    """

    title: str
    promise: str
    command: str
    first: str = ""


PARTS = {
    "hostile": Part(
        "Hostile and odd inputs",
        "Each is sent through the command, the page and its API, and must give the answer that "
        "`tests/hostile/table.py` expects, without a traceback, within memory and time.",
        "-m tests.hostile",
        "inputs:",
    ),
    "fuzz-decoder": Part(
        "Bytes at random",
        "Whatever a file holds, it is sound or refused in words (coverage-guided, by atheris).",
        "-m tests.fuzz decoder --seconds 120",
    ),
    "fuzz-names": Part(
        "Names at random",
        "Whatever a file is called, it is a clip or refused in words.",
        "-m tests.fuzz names --seconds 60",
    ),
    "load": Part(
        "The page under load",
        "Every request is answered or refused in words, memory stays flat, and clients that hang stop nobody.",
        "-m tests.app.load --clients 50 --seconds 120",
    ),
    "kills": Part(
        "Trainings that were killed",
        "Killed at any moment and resumed, a run ends with the files and weights of the unbroken one, byte for byte.",
        "-m tests.train.killed --kills 10",
    ),
    "coverage": Part(
        "Lines and branches that the tests reach",
        "Of `ser_hf` and `train`; files that are reached whole are left out of the list.",
        COVERAGE,
        "Name",
    ),
    "mutants": Part(
        "Changes of the code that the tests notice",
        "Of what figures hang on: metrics, statistics, splits, labels and audio (by mutmut; `[tool.mutmut]` in "
        "pyproject.toml).",
        "-m tests.mutants",
    ),
}
INTRODUCTION = """\
# What the promises are held to

SECURITY.md says what is promised; the tests hold it, and these are their counts, each as its command printed it.
Made by

    python -m tests.trust
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts and write the report; returns 1 if a part failed."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    wanted = arguments.only.split(",") if arguments.only else list(PARTS)
    for name in wanted:
        if name not in PARTS:
            parser.error(unknown_name("part", name, list(PARTS)))
    failed = [name for name in wanted if not count(PARTS[name], arguments.output.with_suffix("") / f"{name}.txt")]
    write_report(arguments.output)
    print(f"Written to {arguments.output}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return int(bool(failed))


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m tests.trust", doc=__doc__)
    parser.add_argument("--only", metavar="NAMES", help=f"these parts, of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--output", type=Path, metavar="F", default=REPORT, help="Markdown file to write")
    return parser


def count(part: Part, kept: Path) -> bool:
    """Run a part and keep what it printed; returns whether it held."""
    print(f"python {part.command}", flush=True)
    command = [sys.executable, *part.command.split()]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False)
    printed = done.stdout.strip()
    start = max(printed.find(f"\n{part.first}"), 0) if part.first else 0
    write_text(kept, f"{describe()}\n\n{printed[start:].strip()}\n")
    return done.returncode == 0


def write_report(output: Path) -> None:
    """Write every part of which something is kept."""
    parts = [INTRODUCTION.strip()]
    for name, part in PARTS.items():
        kept = output.with_suffix("") / f"{name}.txt"
        if kept.is_file():
            machine, _, printed = kept.read_text(encoding="utf-8").strip().partition("\n\n")
            command = f"    python {part.command}\n\non {machine}:"
            parts.append(f"## {part.title}\n\n{part.promise}\n\n{command}\n\n```\n{printed}\n```")
    write_text(output, "\n\n".join(parts) + "\n")


if __name__ == "__main__":
    sys.exit(main())
