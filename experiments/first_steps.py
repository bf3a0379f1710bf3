"""Measure the minutes from a fresh clone to a first prediction, to the page and to a first fold.

Examples:

    python -m experiments.first_steps --data_dir data
    python -m experiments.first_steps --data_dir data --base_model pretrained/whisper-base-encoder --folder elsewhere

Takes half an hour, and is no part of `make bench`: it installs everything again, which depends on the network and on
pip's cache. Corpora and Whisper's weights are not downloaded. Exit status: 0, 1 if a step failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.measuring import REPOSITORY, Table, describe
from ser_hf.command_line import CommandParser
from ser_hf.utils.files import write_text

PYTHON = ".venv/bin/python"
LISTENING = "Listening on"  # what the page prints when it is served
TEXT = "What each command took, one after the other, with everything on this machine but Python packages."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps in a clone and write the report; returns 1 if one failed."""
    given = build_parser().parse_args(argv)
    variables = {**os.environ, "SER_HF_DATA": str(given.data_dir.resolve())}
    weights = ["--base_model", str(given.base_model.resolve())] if given.base_model else []
    steps = {
        "installed": ["make", ".venv/.demo-installed"],
        "first prediction": [PYTHON, "-m", "ser_hf.predict", "app/examples/changing.flac"],
        "page": ["make", "demo"],
        "first fold of the SVM": _fold("baseline", "svm"),
        "first fold of the network": [*_fold("finetune", "whisper"), *weights],
    }
    rows: list[list[str | float | None]] = []
    try:
        with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
            clone, begun = Path(temporary) / "ser_hf", time.perf_counter()
            subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
            for name, command in steps.items():
                started = time.perf_counter()
                print("$ " + " ".join(command), flush=True)
                run_step(command, clone, variables, until=LISTENING if name == "page" else None)
                ended = time.perf_counter()
                shown = " ".join(Path(word).name if Path(word).is_absolute() else word for word in command)
                rows.append([name, f"`{shown}`", ended - started, (ended - begun) / 60])
    except subprocess.CalledProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    table = Table("From a fresh clone", TEXT, ["to", "command", "s", "minutes since the clone"], rows).markdown()
    head = f"# First steps\n\nBy `python -m experiments.first_steps`, on\n\n> {describe()}\n\n"
    write_text(given.output, head + table)
    print(table)
    return 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m experiments.first_steps", doc=__doc__)
    parser.add_argument("--data_dir", type=Path, metavar="DIR", required=True, help="folder with the corpora")
    parser.add_argument("--base_model", type=Path, metavar="DIR", help="Whisper's weights (default: from the Hub)")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to clone (default: a temporary place)")
    report = REPOSITORY / "reports" / "first-steps.md"
    parser.add_argument("--output", type=Path, metavar="F", default=report, help="Markdown file to write")
    return parser


def _fold(command: str, recipe: str) -> list[str]:
    words = ["--recipe", f"train/recipes/{recipe}.yaml", "--folds", "0", "--output_dir", f"runs/{recipe}"]
    return [PYTHON, "-m", f"train.{command}", *words]


def run_step(command: list[str], folder: Path, variables: dict[str, str], until: str | None) -> None:
    """Run a command to its end, or until it prints some words, and end it then.

    Raises:
        subprocess.CalledProcessError: it failed, or ended without printing them.
    """
    if until is None:
        subprocess.run(command, cwd=folder, env=variables, check=True)
        return
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, env=variables, stdout=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        printed = any(until in line for line in process.stdout)
        os.killpg(process.pid, 15)
    if not printed:
        raise subprocess.CalledProcessError(process.returncode or 1, command)


if __name__ == "__main__":
    sys.exit(main())
