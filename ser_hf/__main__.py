"""Speech emotion recognition: which of eight acted expressions does a voice resemble?

Examples:

    ser-hf predict clip.wav recordings/
    ser-hf predict recordings/ --model ser-svm --format jsonl > answers.jsonl
    ser-hf app --port 8000

Commands that train, measure and publish run in the folder of the repository, and need pip install '.[train]':

    python -m train.finetune --help      fine-tune a network on a protocol's folds
    python -m train.baseline --help      tune and fit a classical model
    python -m train.evaluate --help      test a model on whole corpora
    python -m train.compare --help       a report on some runs
    python -m train.publish --help       put a model and its page on the Hub

    python -m experiments.robustness --help     the same clips in noise, cut short, over a telephone
    python -m experiments.leaderboard --help    every recipe on every protocol
    python -m experiments.search --help         what was tried to improve the network
    python -m experiments.speed --help          how fast the models are, beside stock ones
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import ser_hf
from ser_hf import predict
from ser_hf.command_line import CommandParser

COMMANDS = {
    "predict": "say which emotion the voices in some recordings express",
    "app": "serve the page on http://127.0.0.1:7860, where people record or upload",
}
APP = Path("app") / "app.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ser-hf COMMAND ...``; returns the command's exit status, or 2 on wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    # What stands after the command is the command's own, --help among it.
    arguments = build_parser().parse_args(words[:1])
    if arguments.command == "predict":
        return predict.main(words[1:], prog="ser-hf predict")
    return serve(words[1:])


def build_parser() -> CommandParser:
    """The command line, as far as the name of the command."""
    parser = CommandParser(prog="ser-hf", doc=__doc__, usage="ser-hf COMMAND [OPTIONS]")
    parser.add_argument("--version", action="version", version=f"ser_hf {ser_hf.__version__}")
    told = "; ".join(f"{name}: {what}" for name, what in COMMANDS.items())
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help=f"{told}; each has its own --help")
    return parser


def serve(words: Sequence[str]) -> int:
    """Become the page's own command, which lies beside the library and is no part of the installed package."""
    tree = repository()
    if tree is None:
        return _refuse(
            "the page is no part of the installed package: run ser-hf app in the folder of the repository, where "
            f"{APP.as_posix()} lies"
        )
    missing = [package for package in ("gradio", "plotly", "torch", "transformers") if find_spec(package) is None]
    if missing:
        return _refuse(f"the page needs {', '.join(missing)}: pip install '{tree}[app]'")
    return _become([sys.executable, str(tree / APP), *words])


def repository() -> Path | None:
    """The folder of the page: the one that the library lies in, else the working folder; None where there is none."""
    places = (Path(__file__).resolve().parent.parent, Path.cwd())
    return next((place for place in places if (place / APP).is_file() and (place / "ser_hf").is_dir()), None)


def _become(command: list[str]) -> NoReturn:
    """Go on as another command, which gets the signals meant for this one."""
    sys.stdout.flush()
    os.execv(command[0], command)


def _refuse(message: str) -> int:
    print(f"ser-hf app: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
