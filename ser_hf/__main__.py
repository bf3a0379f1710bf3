"""Speech emotion recognition: which emotion does a voice express?

Examples:

    ser-hf predict clip.wav recordings/
    ser-hf predict recordings/ --model ser-svm --format jsonl > predictions.jsonl
    ser-hf embed recordings/ --output embeddings.parquet
    ser-hf app --port 8000

Commands that train, measure and publish run in the folder of the repository, and need pip install '.[train]':

    python -m train.finetune --help      fine-tune a network on a protocol's folds
    python -m train.baseline --help      tune and fit a classical model
    python -m train.evaluate --help      evaluate a model on whole corpora
    python -m train.compare --help       a report on some runs
    python -m train.publish --help       publish a model and its page on the Hub

    python -m experiments.leaderboard --help    every recipe on every protocol
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import ser_hf
from ser_hf import embed, predict
from ser_hf.command_line import CommandParser

COMMANDS = {
    "predict": "predict the emotion of recordings",
    "embed": "write the embeddings of recordings",
    "app": "serve the page on http://127.0.0.1:7860, where people record or upload",
}
APP = Path("app", "app.py")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ser-hf COMMAND ...``; returns the command's exit status, or 2 on wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    # What stands after the command is the command's own, --help among it.
    arguments = build_parser().parse_args(words[:1])
    if arguments.command == "predict":
        return predict.main(words[1:], prog="ser-hf predict")
    if arguments.command == "embed":
        return embed.main(words[1:])
    return serve(words[1:])


def build_parser() -> CommandParser:
    """The command line, as far as the name of the command."""
    parser = CommandParser(prog="ser-hf", doc=__doc__, usage="ser-hf COMMAND [OPTIONS]")
    parser.add_argument("--version", action="version", version=f"ser_hf {ser_hf.__version__}")
    texts = "; ".join(f"{name}: {what}" for name, what in COMMANDS.items())
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help=f"{texts}; each has its own --help")
    return parser


def serve(words: Sequence[str]) -> int:
    """Become the page's own command, which lies beside the library and is no part of the installed package."""
    places = (Path(__file__).resolve().parent.parent, Path.cwd())
    tree = next((place for place in places if (place / APP).is_file() and (place / "ser_hf").is_dir()), None)
    missing = [package for package in ("gradio", "plotly", "torch", "transformers") if find_spec(package) is None]
    if tree is None:
        print("ser-hf app: the page is not in the package; run this in the folder of the repository", file=sys.stderr)
    elif missing:
        print(f"ser-hf app: the page needs {', '.join(missing)}: pip install '{tree}[app]'", file=sys.stderr)
    else:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, str(tree / APP), *words])  # it gets the signals meant for this one
    return 2


if __name__ == "__main__":
    sys.exit(main())
