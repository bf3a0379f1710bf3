"""How many changes of the code that figures hang on are noticed by a test: run mutmut and count, module by module.

Examples:

    python -m tests.mutants
    python -m tests.mutants --processes 1

What is changed, and by which tests that is to be noticed, stands in pyproject.toml under [tool.mutmut]. It works in a
copy, the folder mutants/, and goes on there where it was broken off; what is not tried yet is counted apart. Exit
status: 0 if of those tried at least 85 % are noticed, else 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ser_hf.command_line import CommandParser
from ser_hf.threads import available_cores

REPOSITORY = Path(__file__).resolve().parent.parent
COPY = REPOSITORY / "mutants"
LEAST = 0.85
SURVIVED, NO_TEST = (
    0,
    33,
)  # of mutmut's exit codes: its tests passed, and none reaches it; of the others some test failed


def main(argv: Sequence[str] | None = None) -> int:
    """Run mutmut and print what it found; returns 1 if too few mutants were noticed."""
    processes = build_parser().parse_args(argv).processes
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(processes)]
    subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=False)
    noticed, made, left = Counter[str](), Counter[str](), 0
    for file in sorted(COPY.rglob("*.py.meta")):
        module = file.relative_to(COPY).with_suffix("").as_posix()
        for code in json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"].values():
            if code is None:
                left += 1
            else:
                made[module] += 1
                noticed[module] += code not in (SURVIVED, NO_TEST)
    for module in made:
        print(f"{module:<32} {noticed[module]:>4} of {made[module]:>4} noticed")
    total, found = made.total(), noticed.total()
    share = found / max(total, 1)
    print(f"mutants: {total}, noticed: {found} ({100 * share:.1f} %)" + (f"; not tried yet: {left}" if left else ""))
    return int(share < LEAST)


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m tests.mutants", doc=__doc__)
    parser.add_argument("--processes", type=int, metavar="N", default=available_cores(), help="default: one a core")
    return parser


if __name__ == "__main__":
    sys.exit(main())
