"""Measure the minutes from a fresh clone to a first prediction, to the page and to a first fold.

Examples:

    python -m experiments.first_steps --data_dir data
    python -m experiments.first_steps --data_dir data --base_model pretrained/whisper-base-encoder --folder elsewhere

Takes a quarter of an hour, and is no part of `make bench`: it installs everything again, which depends on the network
and on pip's cache. Corpora and Whisper's weights are not downloaded. Exit status: 0, 1 if a step failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.measuring import REPOSITORY, Table, describe
from ser_hf.command_line import CommandParser
from ser_hf.files import write_text

REPORT = REPOSITORY / "reports" / "first-steps.md"
PYTHON = ".venv/bin/python"
PAGE = ("make", "demo")
LISTENING = "Listening on"
RECIPES = {"SVM": ("train.baseline", "svm"), "network": ("train.finetune", "whisper")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps in a clone and write the report; returns 1 if one failed."""
    given = build_parser().parse_args(argv)
    environment = {**os.environ, "SER_HF_DATA": str(given.data_dir.resolve())}
    try:
        with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
            table = run_steps(steps(given.base_model), Path(temporary) / "ser_hf", environment)
    except subprocess.CalledProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_text(
        given.output, f"# First steps\n\nBy `python -m experiments.first_steps`, on\n\n> {describe()}\n\n{table}"
    )
    print(table)
    return 0


def build_parser() -> CommandParser:
    """The command line."""
    parser = CommandParser(prog="python -m experiments.first_steps", doc=__doc__)
    parser.add_argument("--data_dir", type=Path, metavar="DIR", required=True, help="folder with the corpora")
    parser.add_argument("--base_model", type=Path, metavar="DIR", help="Whisper's weights (default: from the Hub)")
    parser.add_argument(
        "--folder", type=Path, metavar="DIR", help="where the clone is made (default: a temporary place)"
    )
    parser.add_argument("--output", type=Path, metavar="F", default=REPORT, help="Markdown file to write")
    return parser


def steps(base_model: Path | None) -> dict[str, tuple[str, ...]]:
    """The commands, in their order, by what they lead to."""
    copy = ("--base_model", str(base_model.resolve())) if base_model else ()
    folds = {
        f"first fold of the {name}": (
            *(PYTHON, "-m", module, "--recipe", f"train/recipes/{recipe}.yaml", "--folds", "0"),
            *("--output_dir", f"runs/{recipe}", *(copy if module == "train.finetune" else ())),
        )
        for name, (module, recipe) in RECIPES.items()
    }
    return {
        "installed": ("make", f"{PYTHON.split('/')[0]}/.demo-installed"),
        "first prediction": (PYTHON, "-m", "ser_hf.predict", "app/examples/changing.flac"),
        "page": PAGE,
        **folds,
    }


def run_steps(commands: Mapping[str, Sequence[str]], clone: Path, environment: Mapping[str, str]) -> str:
    """Clone this repository, run the commands in it, and return how long each took, as a Markdown table.

    Raises:
        subprocess.CalledProcessError: a command failed; what it printed stands above.
    """
    begun = time.perf_counter()
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
    rows: list[list[str | float | None]] = []
    for name, command in commands.items():
        started = time.perf_counter()
        print("$ " + " ".join(command), flush=True)
        (_until_listening if command == PAGE else _to_the_end)(command, clone, environment)
        ended = time.perf_counter()
        shown = " ".join(Path(word).name if Path(word).is_absolute() else word for word in command)
        rows.append([name, f"`{shown}`", ended - started, (ended - begun) / 60])
    text = "What each command took, one after the other, with everything on this machine but Python packages."
    table = Table("From a fresh clone", text, ["to", "command", "s", "minutes since the clone"], rows)
    return table.markdown()


def _to_the_end(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    subprocess.run(command, cwd=folder, env=environment, check=True)


def _until_listening(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Run a command until it says that the page is served, and end it."""
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as page:
        assert page.stdout is not None
        listening = any(LISTENING in line for line in page.stdout)
        os.killpg(page.pid, 15)
    if not listening:
        raise subprocess.CalledProcessError(page.returncode or 1, command)


if __name__ == "__main__":
    sys.exit(main())
