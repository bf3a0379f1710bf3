"""Which emotion do the voices in some recordings express? One row a recording, as soon as it is known.

python -m ser_hf.predict clip.wav recordings/ --format jsonl
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ser_hf.rows import FORMATS, Row, open_writer

if TYPE_CHECKING:  # the heavy imports wait until the arguments are known to be right
    from ser_hf.classifier import EmotionClassifier

AUDIO_SUFFIXES = (
    *(".3gp", ".aac", ".aif", ".aifc", ".aiff", ".amr", ".au", ".caf", ".flac", ".m4a", ".mka"),
    *(".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav", ".webm", ".wma"),
)
EXIT_SOME_FAILED, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status: 0, 1 if a recording failed, 2 on wrong usage."""
    arguments = build_parser().parse_args(argv)
    if arguments.format == "parquet" and arguments.output is None:
        return _usage("--format parquet writes a file: name it with --output F")
    if arguments.output is not None and not arguments.output.parent.is_dir():
        return _usage(f"--output {arguments.output}: there is no folder {arguments.output.parent}")
    if arguments.output is not None and arguments.output.is_dir():
        return _usage(f"--output {arguments.output} is a folder; name a file")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from ser_hf.classifier import DEFAULT_MODEL, EmotionClassifier
    from ser_hf.models import ModelError

    try:
        classifier = EmotionClassifier.from_pretrained(arguments.model or DEFAULT_MODEL)
    except ModelError as error:
        return _usage(str(error))
    inputs = [file for name in arguments.inputs for file in find_recordings(name)]
    try:
        failed = _run(classifier, inputs, arguments.format, arguments.output)
    except BrokenPipeError:
        # The reader has left, as `head` does. Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        return _usage(f"cannot write {arguments.output or 'the answers'}: {error.strerror or error}")
    return EXIT_SOME_FAILED if failed else 0


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ser_hf.predict",
        description="Say which emotion the voices in some recordings express.",
        epilog="Exit status: 0 if every recording was answered, 1 if any was not, 2 on wrong usage.",
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="FILE|FOLDER", help="recordings; folders are searched with all their subfolders"
    )
    parser.add_argument(
        "--model", metavar="DIR|HUB_ID", help="model folder, or Hub id as user/name (default: models/ser-whisper)"
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="of the answers (default: table)")
    parser.add_argument("--output", type=Path, metavar="F", help="write here instead of to the terminal")
    return parser


def find_recordings(name: str) -> Iterator[str | Row]:
    """The recordings that a command-line argument names, sorted; a folder without any gives a row with an error."""
    if not os.path.isdir(name):
        yield name
        return
    empty = True
    for folder, folders, files in os.walk(name):
        folders.sort()
        for file in sorted(files):
            # A leading dot: what macOS leaves beside each file on foreign disks ("._clip.wav") is no sound.
            if os.path.splitext(file)[1].lower() in AUDIO_SUFFIXES and not file.startswith("."):
                empty = False
                yield os.path.join(folder, file)
    if empty:
        yield {"file": name, "error": f"{name}: the folder holds no recordings ({', '.join(AUDIO_SUFFIXES)})"}


def _run(classifier: EmotionClassifier, inputs: list[str | Row], format: str, output: Path | None) -> int:
    """Answer every input and write the rows; returns how many failed."""
    from tqdm import tqdm

    # A bar would run through the rows where both go to the same terminal.
    hidden = not sys.stderr.isatty() or (output is None and sys.stdout.isatty())
    failed = 0
    with open_writer(format, output, [_name(item) for item in inputs], classifier.labels) as writer:
        for row in tqdm(answer(classifier, inputs), total=len(inputs), unit="clip", disable=hidden, file=sys.stderr):
            failed += "error" in row
            writer.write(row)
    return failed


def answer(classifier: EmotionClassifier, inputs: Sequence[str | Row]) -> Iterator[Row]:
    """One row an input, in order: what `Prediction.to_dict` holds, or ``file`` and ``error``."""
    from ser_hf.audio import AudioError

    for item in inputs:
        if isinstance(item, dict):
            yield item
            continue
        try:
            yield classifier.predict(item).to_dict()
        except AudioError as error:
            yield {"file": item, "error": str(error)}


def _name(item: str | Row) -> str:
    return item if isinstance(item, str) else item["file"]


def _usage(message: str) -> int:
    print(f"{build_parser().prog}: {message}", file=sys.stderr)
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
