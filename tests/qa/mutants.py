"""Run mutmut on the code that figures depend on, and count the mutants that a test kills, module by module.

Examples:

    python -m tests.qa.mutants

What is mutated, and by which tests that is to be noticed, is in pyproject.toml under [tool.mutmut]. mutmut works in a
copy, the folder mutants/, and resumes there. Exit status: 0 if at least 85 % of the mutants are killed, else 1.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
COPY = REPOSITORY / "mutants"
LEAST = 0.85
SURVIVED, NO_TEST = 0, 33  # mutmut's exit codes; every other number means that a test failed


def main() -> int:
    """Run mutmut and print what it found; returns 1 if too few mutants were killed."""
    subprocess.run([sys.executable, "-m", "mutmut", "run"], cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=False)
    killed, tried = Counter[str](), Counter[str]()
    for file in sorted(COPY.rglob("*.py.meta")):
        module = file.relative_to(COPY).with_suffix("").as_posix()
        for code in json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"].values():
            if code is not None:  # else not tried yet
                tried[module] += 1
                killed[module] += code not in (SURVIVED, NO_TEST)
    for module in tried:
        print(f"{module:<32} {killed[module]:>4} of {tried[module]:>4} killed")
    print(f"mutants: {tried.total()}, killed: {killed.total()}")
    return int(killed.total() < LEAST * tried.total() or not tried)


# The rest is a pytest plugin for the suite that mutmut runs (-p tests.qa.mutants).


def pytest_sessionstart() -> None:
    """A mutant is killed by the first failing example: to shrink it takes another minute."""
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", hypothesis.settings.get_profile("tests"), phases=phases)
    hypothesis.settings.load_profile("mutants")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """mutmut 3.8 reads a test's name from this attribute, which pytest 9.2 no longer sets."""
    for item in items:
        item._nodeid = item.nodeid  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
