"""Look for bytes or names that break a promise, by atheris (coverage-guided, for a time that is given).

Examples:

    python -m tests.fuzz decoder --seconds 60
    python -m tests.fuzz names --runs 10000 --output runs/found

Only Python is watched: libsndfile and FFmpeg come as they are, so of their inside it knows no more than what they say.
What it finds is written to the folder --output; make it a row of `tests/hostile/table.py`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ser_hf.command_line import CommandParser

LONGEST_SECONDS, MOST_MEGABYTES = 20, 2_000  # of one input; what takes more is found, too
LONGEST_BYTES = {"decoder": 40_000, "names": 100}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the fuzzer in a process of its own and print what it did; returns 1 if it found anything."""
    arguments = build_parser().parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="ser_hf-fuzz-") as folder:
        seeds, found = Path(folder, "seeds"), arguments.output or Path(folder, "found")
        for one in (seeds, found):
            one.mkdir(parents=True, exist_ok=True)
        for name, content in _seeds(arguments.target).items():
            (seeds / name).write_bytes(content)
        limits = [f"-timeout={LONGEST_SECONDS}", f"-rss_limit_mb={MOST_MEGABYTES}", f"-seed={arguments.seed}"]
        bounds = [f"-max_total_time={arguments.seconds}", f"-runs={arguments.runs}"]
        size = f"-max_len={LONGEST_BYTES[arguments.target]}"
        command = [sys.executable, "-m", "tests.fuzz.run", arguments.target, *limits, *bounds, size]
        done = subprocess.run(
            [*command, f"-artifact_prefix={found}/", str(seeds)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        broken = sorted(found.iterdir())
        count = re.search(r"^Done (\d+) runs", done.stderr, re.MULTILINE)
        if broken or count is None:
            print(done.stderr[-5000:], file=sys.stderr)
        for file in broken:
            print(f"{file.name}: {file.read_bytes()[:200]!r}")
        print(f"{arguments.target}: tried: {count[1] if count else 'broken off'}, found: {len(broken)}")
        return 0 if count and not broken else 1


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m tests.fuzz", doc=__doc__)
    parser.add_argument("target", choices=tuple(LONGEST_BYTES), help="what is tried")
    parser.add_argument("--seconds", type=int, metavar="S", default=60, help="how long it may take")
    parser.add_argument("--runs", type=int, metavar="N", default=-1, help="end after so many inputs (-1: no end)")
    parser.add_argument("--seed", type=int, default=1, help="of its chance; the same seed tries the same inputs")
    parser.add_argument("--output", type=Path, metavar="F", help="folder that keeps what it finds (default: nowhere)")
    return parser


def _seeds(target: str) -> dict[str, bytes]:
    """Where it starts from."""
    from tests.fuzz.promises import NAMES, whole_files

    return whole_files() if target == "decoder" else {name: text.encode() for name, text in NAMES.items()}


if __name__ == "__main__":
    sys.exit(main())
